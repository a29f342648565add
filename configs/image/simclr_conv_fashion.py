"""SimCLR with a small convolutional encoder on the embedded Fashion-MNIST subset: the quickstart.

    ssl-jax train --config simclr_conv_fashion --workdir runs/simclr

Two crops of each of 20,000 unlabelled images; a CPU is enough.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments import FASHION_PIXELS, embedded, evaluation, image_views

RESULT = "linear 87.0 % (random init 84.3, raw pixels 82.0); 100 labels per class 83.9 (80.6, 79.3); 3 min on 2 cores"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    views = dict(count=2, scale=(0.3, 1.0), ratio=(0.6, 1.67), flip=0.5, jitter=(0.4, 0.4, 0.0, 0.0), jitter_prob=0.8)
    return ConfigDict(
        dict(
            seed=0,
            batch_size=32 if tiny else 256,
            total_examples=256 if tiny else 320_000,
            objective=dict(
                target="ssl_jax.objectives.simclr:SimCLR", temperature=0.1, hidden=(256,), out=64, head_norm="batch"
            ),
            model=dict(
                target="ssl_jax.models.conv:ConvNet", widths=(96, 192), strides=(4, 2), kernels=(7, 3), norm="batch"
            ),
            data=embedded(limit=500 if tiny else None),
            augment=image_views(28, FASHION_PIXELS, views),
            optimizer=dict(name="adamw", lr=8e-3, weight_decay=1e-4),
            schedule=dict(name="cosine", warmup_percent=5),
            mesh=dict(data=-1),
            checkpoint=dict(every_percent=25),
            evaluate=evaluation("student", tiny),
            log=dict(every_steps=4 if tiny else 20),
        )
    )
