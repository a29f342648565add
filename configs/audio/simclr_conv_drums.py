"""SimCLR with a small convolutional encoder on spectrograms of single strokes of fifteen drum kits.

    tools/fetch_audio_data --root packages --out data
    ssl-jax train --config simclr_conv_drums --workdir runs/simclr-drums

Two stretches of each clip, changed as BYOL-A does (Niizumi et al. 2021, arXiv 2103.06695).
The probe is the instrument, of other kits.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.audio import DRUMS, audio_conv, audio_run, two_views

RESULT = "below log-mel means after 16,000 records"


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        audio_run(arg, DRUMS, examples=16_000)
        | dict(
            objective=dict(
                target="ssl_jax.objectives.simclr:SimCLR", temperature=0.1, hidden=(256,), out=64, head_norm="batch"
            ),
            model=audio_conv(),
            augment=two_views(DRUMS),
            optimizer=dict(name="adamw", lr=1e-3, weight_decay=1e-4),
        )
    )
