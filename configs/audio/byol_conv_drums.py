"""BYOL-A with a small convolutional encoder on spectrograms of single strokes of fifteen drum kits.

    tools/fetch_audio_data --root packages --out data
    ssl-jax train --config byol_conv_drums --workdir runs/byol-drums

Niizumi et al. 2021, "BYOL for Audio", arXiv 2103.06695: BYOL whose views are mixed with other clips and zoomed. Theirs are two
changes of one stretch, ours of two; the other clip is one of the same batch.
The probe is the instrument, of other kits.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.audio import DRUMS, audio_conv, audio_run, two_views

RESULT = "no better than random init or log-mel means after 6,400 records, with the changes of simclr_conv_drums"


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        audio_run(arg, DRUMS, examples=16_000)
        | dict(
            objective=dict(target="ssl_jax.objectives.byol:BYOL", hidden=256, out=64, momentum=(0.987, 1.0)),
            model=audio_conv(),
            augment=two_views(DRUMS),
            optimizer=dict(name="adamw", lr=1e-3, weight_decay=1e-4),
        )
    )
