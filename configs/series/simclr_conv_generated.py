"""SimCLR on series that are made up, with known factors; a few CPU minutes.

    ssl-jax train --config simclr_conv_generated --workdir runs/simclr
    ssl-jax eval --workdir runs/simclr

Chen et al. 2020, arXiv 2002.05709, with views of series: sliced, warped, scaled, noisy.
The label is the form of the season and its dynamics (12 classes).
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.series import generated_run, small_conv, two_views

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
            **generated_run(arg, 25_600, batch=128),
        )
    )
