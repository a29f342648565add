"""CPC on series that are made up, with known factors; a few CPU minutes.

    ssl-jax train --config cpc_gru_generated --workdir runs/cpc
    ssl-jax eval --workdir runs/cpc

van den Oord et al. 2018, arXiv 1807.03748, on frames of series.
The label is the form of the season and its dynamics (12 classes).
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.series import generated_run, predictive, series_views

RESULT = "classes, linear 80.7 % (random init 54.2, raw 8.5); forecasts 8 steps ahead, MSE 0.63 (linear model 0.99)"


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.cpc:CPC", steps=8),
            model=predictive(arg == "tiny"),
            augment=series_views(),
            optimizer=dict(name="adamw", lr=1e-3, weight_decay=1e-4, clip=1.0),
            **generated_run(arg, 100_000, batch=64, read="last", apart=False),
        )
    )
