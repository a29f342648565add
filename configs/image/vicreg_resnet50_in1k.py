"""VICReg with a ResNet-50 on ImageNet, as in arXiv 2105.04906.

    ssl-jax train --config vicreg_resnet50_in1k --workdir runs/vicreg

LARS, 1000 epochs; for 100 epochs with batches of 512 the authors take lr=0.3.
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
            objective=dict(target="ssl_jax.objectives.vicreg:VICReg", invariance=25.0, variance=25.0, covariance=1.0)
            | (dict(hidden=(32,), out=32) if tiny else {}),
            augment=preset_views(tiny, image=("vicreg", 224)),
            optimizer=dict(name="lars", reference_batch=256, lr=0.2, weight_decay=1e-6),
        )
    )
