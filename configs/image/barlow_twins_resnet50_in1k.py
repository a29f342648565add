"""Barlow Twins with a ResNet-50 on ImageNet, as in arXiv 2103.03230.

    ssl-jax train --config barlow_twins_resnet50_in1k --workdir runs/barlow_twins

LARS. Biases and norms learn at 0.00015, the authors' 0.0048 over their 32 GPUs, whose gradients are that much smaller.
Random crops are cut from whole pictures on the host (`data.crop`); flips and colours follow on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import in1k_run, preset_views

RESULT = "not run here; the paper reports 73.2 % linear"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    return ConfigDict(
        in1k_run(tiny, batch_size=2048, epochs=1000, warmup=10, final=0.001)
        | dict(
            objective=dict(target="ssl_jax.objectives.barlow_twins:BarlowTwins", off_diagonal=0.0051)
            | (dict(hidden=(32,), out=32) if tiny else {}),
            augment=preset_views(tiny, image=("barlow_twins", 224)),
            optimizer=dict(
                name="lars",
                reference_batch=256,
                lr=0.2,
                weight_decay=1e-6,
                groups=(("(bias|scale)$", dict(lr_scale=0.00015 / 0.2)),),
            ),
        )
    )
