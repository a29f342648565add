"""wav2vec 2.0 with a small transformer on the spoken names of things that `tools/fetch_audio_data` writes.

    tools/fetch_audio_data --root packages --out data
    ssl-jax train --config wav2vec2_conv_speech --workdir runs/wav2vec2
    ssl-jax eval --workdir runs/wav2vec2

Baevski et al. 2020, arXiv 2006.11477. A frame each 32 ms, two codebooks of 32, spans of 5 frames. Each frame is normed by itself.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.audio import SPEECH
from ssl_jax.recipe.fragments.speech import energy_run, small_frame_encoder

RESULT = "article of an unheard name, linear 79.9 % (random init 78.8, log-mel 71.1)"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    codes = dict(size=8, code_width=16, width=16) if tiny else dict(size=32, code_width=64, width=64)
    return ConfigDict(
        dict(
            objective=dict(
                target="ssl_jax.objectives.wav2vec2:Wav2Vec2",
                span=5,
                negatives=20,
                gumbel=(2.0, 0.5, 0.995),
                penalty=0.0,
                **codes,
            ),
            model=small_frame_encoder(tiny),
            optimizer=dict(name="adamw", lr=1e-3, b2=0.98, weight_decay=0.01, clip=1.0),
            **energy_run(arg, SPEECH, 20_000, batch=32, changes=dict(gain=(-6.0, 6.0))),
        )
    )
