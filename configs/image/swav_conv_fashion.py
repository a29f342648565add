"""SwAV with a small convolutional encoder on the embedded Fashion-MNIST subset.

    ssl-jax train --config swav_conv_fashion --workdir runs/swav

Two large and two small crops of each of 20,000 unlabelled images, all of 28 pixels, and a queue of 1,024.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import fashion_run, fashion_views

RESULT = ":full, 120k examples: linear 87.3 % (random init 83.7, pixels 84.8); 100 labels per class 80.1 (76.3, 79.8)"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    return ConfigDict(
        fashion_run(arg, examples=120_000)
        | dict(
            objective=dict(
                target="ssl_jax.objectives.swav:SwAV",
                prototypes=64,
                hidden=(256,),
                out=64,
                queue=64 if tiny else 1024,
                queue_start=0.1,
            ),
            augment=fashion_views(local=2),
            optimizer=dict(name="adamw", lr=8e-3, weight_decay=1e-4),
        )
    )
