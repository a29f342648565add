"""SimCLR on a folder of your own pictures, one class in each folder of it; docs/your-own-pictures.md walks through it.

ssl-jax train --config my_pictures.py --workdir runs/pictures
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.common import evaluation
from ssl_jax.recipe.fragments.image import IMAGENET_PIXELS, image_views, small_conv

FOLDER, SIZE = "pictures", 64  # where they are; the side in pixels of what the encoder is given


def part(start: float, stop: float) -> dict:
    """The share of the pictures from `start` to `stop`, of an order drawn once."""
    folder = dict(target="ssl_jax.data.sources:ImageFolder", root=FOLDER, size=SIZE)
    return dict(target="ssl_jax.data.sources:Subset", source=folder, start=start, stop=stop)


def get_config(arg: str = "") -> ConfigDict:
    """The recipe; `:tiny` runs in seconds."""
    tiny = arg == "tiny"
    views = dict(count=2, scale=(0.2, 1.0), flip=0.5, jitter=(0.4, 0.4, 0.4, 0.1), jitter_prob=0.8, grey=0.2)
    return ConfigDict(
        dict(
            seed=0,
            batch_size=16 if tiny else 256,
            **(dict(total_steps=4) if tiny else dict(total_epochs=200)),
            objective=dict(target="ssl_jax.objectives.simclr:SimCLR", temperature=0.2, hidden=(256,), out=64),
            model=small_conv(**(dict(widths=(8, 8, 8, 8)) if tiny else {})),
            data=dict(
                pretrain=part(0.0, 0.8),
                probe=part(0.0, 0.8),
                test=part(0.8, 1.0),
                crop="host",
                threads=0 if tiny else 4,
            ),
            augment=image_views(SIZE, IMAGENET_PIXELS, views),
            optimizer=dict(name="adamw", lr=2e-3, reference_batch=256, weight_decay=1e-4),
            schedule=dict(name="cosine", warmup_percent=5),
            evaluate=evaluation("student", tiny),
            log=dict(every_steps=1 if tiny else 20),
        )
    )
