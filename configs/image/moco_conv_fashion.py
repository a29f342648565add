"""MoCo v2 with a small convolutional encoder on the embedded Fashion-MNIST subset.

    ssl-jax train --config moco_conv_fashion --workdir runs/moco

Two crops of each of 20,000 unlabelled images, a queue of 4,096 keys, BatchNorm in 8 groups of 32 as in the paper.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import fashion_run, fashion_views

RESULT = ":full, 120k examples: linear 87.9 % (random init 83.7, pixels 84.8); 100 labels per class 80.3 (76.3, 79.8)"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    return ConfigDict(
        fashion_run(arg, examples=120_000)
        | dict(
            objective=dict(
                target="ssl_jax.objectives.moco:MoCo",
                temperature=0.1,
                hidden=(256,),
                out=64,
                queue=256 if tiny else 4096,
                momentum=0.99,
                bn=4 if tiny else 8,
            ),
            augment=fashion_views(),
            optimizer=dict(name="adamw", lr=8e-3, weight_decay=1e-4),
        )
    )
