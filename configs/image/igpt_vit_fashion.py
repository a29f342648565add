"""iGPT with a small transformer on the embedded Fashion-MNIST subset, at 7 pixels.

    ssl-jax train --config igpt_vit_fashion --workdir runs/igpt

Each of 49 pixels is one of 16 greys, told from those before it. Features are the mean of the states in the middle. Attention over
pixels is what iGPT costs: at 14 pixels every example is four times as many tokens.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import fashion_run, image_views, pixel_transformer

RESULT = ":full, 120k examples: linear 80.0 % (random init 70.3, pixels 84.8); 100 labels per class 74.0 (62.6, 79.7)"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    size = (32, 2, 2) if tiny else (64, 4, 2)
    views = dict(count=1, scale=(0.6, 1.0), flip=0.5, interpolation="bicubic")
    return ConfigDict(
        fashion_run(arg, examples=120_000)
        | dict(
            batch_size=32 if tiny else 64,
            objective=dict(target="ssl_jax.objectives.igpt:IGPT", fit_records=200 if tiny else 2000),
            model=pixel_transformer(*size, colours=8 if tiny else 16, pixels=7 * 7, channels=1, remat="none"),
            augment=image_views(7, dict(mean=(0.5,), std=(0.5,)), views),
            optimizer=dict(name="adamw", lr=3e-3, b2=0.95, weight_decay=0.0),
            schedule=dict(name="cosine", warmup_percent=10),
        )
    )
