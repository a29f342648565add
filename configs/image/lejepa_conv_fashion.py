"""LeJEPA with a small convolutional encoder on the embedded Fashion-MNIST subset.

    ssl-jax train --config lejepa_conv_fashion --workdir runs/lejepa

Two large and two small crops of each of 20,000 unlabelled images, all of 28 pixels.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import LEJEPA_BATCH_RULES, fashion_run, fashion_views

RESULT = ":full, 120k examples: linear 87.2 % (random init 83.7, pixels 84.8); 100 labels per class 80.2 (76.3, 79.8)"


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        fashion_run(arg, examples=120_000)
        | dict(
            objective=dict(
                target="ssl_jax.objectives.lejepa:LeJEPA", weight=0.05, directions=256, hidden=(256,), out=32
            ),
            augment=fashion_views(local=2),
            batch_rules=LEJEPA_BATCH_RULES,
            optimizer=dict(name="adamw", lr=4e-3, weight_decay=1e-2),
        )
    )
