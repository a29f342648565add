"""Relative patch position with a small convolutional encoder on the embedded Fashion-MNIST subset.

    ssl-jax train --config relative_position_conv_fashion --workdir runs/relative_position

Pairs of patches of 12 pixels, 2 pixels apart.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import fashion_run, fashion_views

RESULT = ":full, 120k examples: linear 87.7 % (random init 83.7, pixels 84.8); 100 labels per class 81.0 (76.3, 79.8)"


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        fashion_run(arg, examples=120_000)
        | dict(
            objective=dict(
                target="ssl_jax.objectives.relative_position:RelativePosition",
                patch=12,
                gap=2,
                jitter=1,
                patch_out=64,
                hidden=(256,),
            ),
            augment=fashion_views(count=1, scale=(1.0, 1.0)),
            optimizer=dict(name="adamw", lr=4e-3, weight_decay=1e-4),
        )
    )
