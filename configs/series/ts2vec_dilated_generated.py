"""TS2Vec on series that are made up, with known factors; a few CPU minutes.

    ssl-jax train --config ts2vec_dilated_generated --workdir runs/ts2vec
    ssl-jax eval --workdir runs/ts2vec

Yue et al. 2021, arXiv 2106.10466: 600 steps of 16 series, as the authors' code takes.
The label is the form of the season and its dynamics (12 classes).
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.series import dilated, generated_run, series_views

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.ts2vec:TS2Vec"),
            model=dilated(arg == "tiny", depth=6),
            augment=series_views(),
            optimizer=dict(name="adamw", lr=1e-3, weight_decay=0.01),
            **generated_run(arg, 9600, batch=16, read="last", encoder="average") | dict(schedule=dict(name="constant")),
        )
    )
