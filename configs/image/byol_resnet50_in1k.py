"""BYOL with a ResNet-50 on ImageNet, as in arXiv 2006.07733.

    ssl-jax train --config byol_resnet50_in1k --workdir runs/byol

LARS, 1000 epochs; for 300 epochs the authors take lr=0.3, weight_decay=1e-6 and a momentum from 0.99.
Random crops are cut from whole pictures on the host (`data.crop`); flips and colours follow on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import in1k_run, preset_views

RESULT = "not run here; the paper reports 74.3 % linear"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    return ConfigDict(
        in1k_run(tiny, batch_size=4096, epochs=1000, warmup=10)
        | dict(
            objective=dict(target="ssl_jax.objectives.byol:BYOL", hidden=4096, out=256, momentum=(0.996, 1.0))
            | (dict(hidden=32, out=16) if tiny else {}),
            augment=preset_views(tiny, image=("byol", 224)),
            optimizer=dict(name="lars", reference_batch=256, lr=0.2, weight_decay=1.5e-6),
        )
    )
