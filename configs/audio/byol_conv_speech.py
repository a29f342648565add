"""BYOL-A with a small convolutional encoder on spectrograms of spoken names of things in twelve languages.

    tools/fetch_audio_data --root packages --out data
    ssl-jax train --config byol_conv_speech --workdir runs/byol-speech

Niizumi et al. 2021, "BYOL for Audio", arXiv 2103.06695: BYOL whose views are mixed with other clips and zoomed. Theirs are two
changes of one stretch, ours of two; the other clip is one of the same batch.
The probe is the article of a name, un or una, of concepts that were not heard.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.audio import SPEECH, audio_conv, audio_run, two_views

RESULT = "article of an unheard name 73.4 % (random init 67.2, log-mel means 71.1)"


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        audio_run(arg, SPEECH, examples=10_000)
        | dict(
            objective=dict(target="ssl_jax.objectives.byol:BYOL", hidden=256, out=64, momentum=(0.987, 1.0)),
            model=audio_conv(),
            augment=two_views(SPEECH),
            optimizer=dict(name="adamw", lr=1e-3, weight_decay=1e-4),
        )
    )
