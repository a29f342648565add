"""TS2Vec on a problem of the UCR and UEA archives: GunPoint, or the one named after the colon.

    ssl-jax train --config ts2vec_dilated_aeon:ArrowHead --workdir runs/ts2vec
    ssl-jax eval --workdir runs/ts2vec

The files are those that tools/fetch_series puts into data/aeon. Yue et al. 2021, arXiv 2106.10466;
200 steps, as the authors' code takes on training sets of up to 100,000 values.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.series import aeon_run, dilated, series_views

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.ts2vec:TS2Vec"),
            model=dilated(arg == "tiny"),
            augment=series_views(),
            optimizer=dict(name="adamw", lr=1e-3, weight_decay=0.01),
            **aeon_run(arg, 200, batch=16, encoder="average") | dict(schedule=dict(name="constant")),
        )
    )
