"""CURL on stacks of three frames of a generated pendulum.

    ssl-jax train --config curl_conv_pendulum --workdir runs/curl

Labels are eight states (quadrant and direction of turning), only for the probes; the probe `regression` predicts the state
itself. `:reference` has the sizes of arXiv 2004.04136: frames of 100 pixels cropped to 84, batches of 512, Adam.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.common import evaluation
from ssl_jax.recipe.fragments.image import UNCHANGED_PIXELS, fashion_run, image_views

RESULT = "R^2 of the state 0.61 (random init 0.39, raw pixels 0.59); linear, eight states, 93.0 % (81.2, 96.0)"


def get_config(arg: str = "") -> ConfigDict:
    tiny, reference = arg == "tiny", arg == "reference"
    size, crop = (100, 84) if reference else (40, 34)
    share = (crop / size) ** 2
    crops = dict(count=2, scale=(share, share), ratio=(1.0, 1.0))
    source = dict(target="ssl_jax.data.sources:Pendulum", size=size, limit=500 if tiny else None)
    return ConfigDict(
        fashion_run("tiny" if tiny else "", examples=1_000_000 if reference else 200_000)
        | (dict(batch_size=512) if reference else {})
        | dict(
            objective=dict(target="ssl_jax.objectives.curl:CURL", momentum=0.95, teacher_every=2),
            model=dict(target="ssl_jax.models.conv:PixelEncoder") | (dict(filters=8, layers=2) if tiny else {}),
            data={split: source | dict(split=split) for split in ("pretrain", "probe", "test")},
            augment=image_views(crop, UNCHANGED_PIXELS, crops, crop_fraction=crop / size),
            optimizer=dict(name="adamw", lr=1e-3, b2=0.999, weight_decay=0.0),
            evaluate=evaluation("student", tiny) | dict(probes=("linear", "knn", "regression"), target="state"),
            schedule=dict(name="constant", warmup_steps=0),
        )
    )
