"""iGPT with a small transformer on the embedded Fashion-MNIST subset, at 14 pixels.

    ssl-jax train --config igpt_vit_fashion --workdir runs/igpt

Each of 196 pixels is one of 16 greys, told from those before it. Features are the mean of the states in the middle.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import fashion_run, image_views, pixel_transformer

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    size, sides = ((32, 2, 2), 7) if tiny else ((96, 6, 3), 14)
    views = dict(count=1, scale=(0.6, 1.0), flip=0.5, interpolation="bicubic")
    return ConfigDict(
        fashion_run(arg, examples=120_000)
        | dict(
            batch_size=32 if tiny else 64,
            objective=dict(target="ssl_jax.objectives.igpt:IGPT", fit_records=200 if tiny else 2000),
            model=pixel_transformer(*size, colours=8 if tiny else 16, pixels=sides**2, channels=1, remat="none"),
            augment=image_views(sides, dict(mean=(0.5,), std=(0.5,)), views),
            optimizer=dict(name="adamw", lr=3e-3, b2=0.95, weight_decay=0.0),
            schedule=dict(name="cosine", warmup_percent=10),
        )
    )
