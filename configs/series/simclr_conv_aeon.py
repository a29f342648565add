"""SimCLR on a problem of the UCR and UEA archives: GunPoint, or the one named after the colon.

    ssl-jax train --config simclr_conv_aeon:ArrowHead --workdir runs/simclr
    ssl-jax eval --workdir runs/simclr

The files are those that tools/fetch_series puts into data/aeon.
Chen et al. 2020, arXiv 2002.05709, with views of series: sliced, warped, scaled, noisy.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.series import aeon_run, small_conv, two_views

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        dict(
            objective=dict(
                target="ssl_jax.objectives.simclr:SimCLR", temperature=0.2, hidden=(256,), out=128, head_norm="none"
            ),
            model=small_conv(arg == "tiny"),
            augment=two_views(),
            optimizer=dict(name="adamw", lr=1e-3, weight_decay=1e-4),
            **aeon_run(arg, 400, batch=32),
        )
    )
