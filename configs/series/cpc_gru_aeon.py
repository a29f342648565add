"""CPC on a problem of the UCR and UEA archives: GunPoint, or the one named after the colon.

    ssl-jax train --config cpc_gru_aeon:ArrowHead --workdir runs/cpc
    ssl-jax eval --workdir runs/cpc

The files are those that tools/fetch_series puts into data/aeon. van den Oord et al. 2018, arXiv 1807.03748, on frames of series.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.series import aeon_run, predictive, series_views

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.cpc:CPC", steps=4),
            model=predictive(arg == "tiny"),
            augment=series_views(),
            optimizer=dict(name="adamw", lr=1e-3, weight_decay=1e-4, clip=1.0),
            **aeon_run(arg, 400, batch=32),
        )
    )
