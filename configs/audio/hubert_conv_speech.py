"""HuBERT with a small transformer on the spoken names of things that `tools/fetch_audio_data` writes.

    tools/fetch_audio_data --root packages --out data
    ssl-jax train --config hubert_conv_speech --workdir runs/hubert
    ssl-jax eval --workdir runs/hubert

Hsu et al. 2021, arXiv 2106.07447, its first iteration: 64 units of the cepstra of log energies, a frame each 32 ms, spans of 5
frames. Frames are normed one by one, so that nothing has to keep them small.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.audio import SPEECH
from ssl_jax.recipe.fragments.speech import energy_run, small_frame_encoder

RESULT = "article of an unheard name, linear 81.8 % (random init 78.8, log-mel 71.1)"


def get_config(arg: str = "") -> ConfigDict:
    sizes = dict(codes=8, width=16, fit_records=64) if arg == "tiny" else dict(codes=64, width=64)
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.hubert:HuBERT", span=5, mask_share=0.65, penalty=0.0, **sizes),
            model=small_frame_encoder(arg == "tiny"),
            optimizer=dict(name="adamw", lr=1e-3, b2=0.98, weight_decay=0.01, clip=1.0),
            **energy_run(arg, SPEECH, 20_000, batch=32, changes=dict(gain=(-6.0, 6.0))),
        )
    )
