"""PatchTST on a problem of the UCR and UEA archives: GunPoint, or the one named after the colon.

    ssl-jax train --config patchtst_aeon:ArrowHead --workdir runs/patchtst
    ssl-jax eval --workdir runs/patchtst

The files are those that tools/fetch_series puts into data/aeon. Nie et al. 2022, arXiv 2211.14730.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.series import aeon_length, aeon_run, patch_transformer, series_views

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.patchtst:PatchTST"),
            model=patch_transformer(arg == "tiny", aeon_length(arg)),
            augment=series_views(),
            optimizer=dict(name="adamw", lr=1e-3, weight_decay=0.01),
            **aeon_run(arg, 400, batch=32),
        )
    )
