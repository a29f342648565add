"""SimSiam with a small convolutional encoder on the embedded Fashion-MNIST subset.

ssl-jax train --config docs/examples/simsiam/simsiam_fashion.py --workdir runs/simsiam
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.common import evaluation
from ssl_jax.recipe.fragments.image import FASHION_PIXELS, embedded, image_views


def get_config(arg: str = "") -> ConfigDict:
    """The recipe; `:tiny` runs in seconds."""
    tiny = arg == "tiny"
    views = dict(count=2, scale=(0.3, 1.0), flip=0.5, jitter=(0.4, 0.4, 0.0, 0.0), jitter_prob=0.8)
    return ConfigDict(
        dict(
            seed=0,
            batch_size=32 if tiny else 256,
            total_examples=256 if tiny else 600_000,
            objective=dict(target="simsiam:SimSiam", hidden=(256, 256), out=256, predictor_hidden=64),
            model=dict(target="ssl_jax.models.conv:ConvNet", widths=(32, 64, 128), norm="batch", pool="flatten"),
            data=embedded(limit=500 if tiny else None),
            augment=image_views(28, FASHION_PIXELS, views),
            optimizer=dict(name="sgd", lr=0.05, reference_batch=256, momentum=0.9, weight_decay=1e-4),
            schedule=dict(name="cosine", warmup_percent=5),
            evaluate=evaluation("student", tiny),
            log=dict(every_steps=4 if tiny else 20),
        )
    )
