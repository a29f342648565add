"""TF-C on series that are made up, with known factors; a few CPU minutes.

    ssl-jax train --config tfc_conv_generated --workdir runs/tfc
    ssl-jax eval --workdir runs/tfc

Zhang et al. 2022, arXiv 2206.08496. The label is the form of the season and its dynamics (12 classes).
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.series import both_domains, generated_run, series_views

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.tfc:TFC"),
            model=both_domains(arg == "tiny"),
            augment=series_views(scaling=0.2, jitter=0.3),
            optimizer=dict(name="adamw", lr=1e-3, weight_decay=3e-4),
            **generated_run(arg, 25_600, batch=128),
        )
    )
