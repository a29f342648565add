"""TF-C on a problem of the UCR and UEA archives: GunPoint, or the one named after the colon.

    ssl-jax train --config tfc_conv_aeon:ArrowHead --workdir runs/tfc
    ssl-jax eval --workdir runs/tfc

The files are those that tools/fetch_series puts into data/aeon. Zhang et al. 2022, arXiv 2206.08496.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.series import aeon_run, both_domains, series_views

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.tfc:TFC"),
            model=both_domains(arg == "tiny"),
            augment=series_views(scaling=0.2, jitter=0.3),
            optimizer=dict(name="adamw", lr=1e-3, weight_decay=3e-4),
            **aeon_run(arg, 400, batch=32),
        )
    )
