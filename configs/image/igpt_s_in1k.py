"""iGPT-S on ImageNet-1k at 32 pixels with the paper's hyper-parameters, for a slice or a cluster.

    ssl-jax plan --config igpt_s_in1k --topology v5e:4x4
    ssl-jax train --config igpt_s_in1k --workdir runs/igpt-s

Chen et al. 2020, section 3: 512 colours, 24 layers of 512, a million updates with batches of 128, no weight decay. Put the images
at data/imagenet/train/<class>, or set data.pretrain.root.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.common import evaluation, frozen_evaluation
from ssl_jax.recipe.fragments.image import embedded, image_views, imagenet, pixel_transformer

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    channels, side = (1, 7) if tiny else (3, 32)
    small = dict(width=32, depth=2, heads=2, colours=8)
    large = dict(width=512, depth=24, heads=8, colours=512, dtype="bfloat16", attention="flash")
    views = dict(count=1, scale=(0.9, 1.0), ratio=(1.0, 1.0), flip=0.5, interpolation="bicubic")
    return ConfigDict(
        dict(
            seed=0,
            batch_size=32 if tiny else 128,
            **(dict(total_examples=256) if tiny else dict(total_steps=1_000_000)),
            objective=dict(target="ssl_jax.objectives.igpt:IGPT", fit_records=200 if tiny else 2000),
            model=pixel_transformer(**(small if tiny else large), pixels=side**2, channels=channels, remat="none"),
            data=embedded(limit=500) if tiny else imagenet("data/imagenet", 64),
            augment=image_views(side, dict(mean=(0.5,) * channels, std=(0.5,) * channels), views),
            optimizer=dict(name="adamw", lr=3e-3, b2=0.95, weight_decay=0.0),
            schedule=dict(name="cosine", **(dict(warmup_percent=5) if tiny else dict(warmup_epochs=1))),
            mesh=dict(data=-1),
            checkpoint=dict(every_percent=5),
            evaluate=evaluation("student", tiny) if tiny else frozen_evaluation("student"),
            log=dict(every_steps=4 if tiny else 50),
        )
    )
