"""PatchTST on series that are made up, with known factors; a few CPU minutes.

    ssl-jax train --config patchtst_generated --workdir runs/patchtst
    ssl-jax eval --workdir runs/patchtst

Nie et al. 2022, arXiv 2211.14730. The label is the form of the season and its dynamics (12 classes).
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.series import LENGTH, generated_run, patch_transformer, series_views

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.patchtst:PatchTST"),
            model=patch_transformer(arg == "tiny", LENGTH),
            augment=series_views(),
            optimizer=dict(name="adamw", lr=1e-3, weight_decay=0.01),
            **generated_run(arg, 25_600, batch=128, read="all"),
        )
    )
