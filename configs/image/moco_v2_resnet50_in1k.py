"""MoCo v2 with a ResNet-50 on ImageNet, as in arXiv 2003.04297.

    ssl-jax train --config moco_v2_resnet50_in1k --workdir runs/moco_v2

SGD without warm-up, weight decay on everything; BatchNorm in 8 groups of 32. The cosine moves every step, theirs every epoch.
Random crops are cut from whole pictures on the host (`data.crop`); flips and colours follow on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import in1k_run, preset_views

RESULT = "not run here; the paper reports 67.5 % linear"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    return ConfigDict(
        in1k_run(tiny, batch_size=256, epochs=200)
        | dict(
            objective=dict(
                target="ssl_jax.objectives.moco:MoCo",
                temperature=0.2,
                hidden=(2048,),
                queue=65536,
                momentum=0.999,
                bn=8,
            )
            | (dict(hidden=(32,), out=16, queue=64, bn=4) if tiny else {}),
            augment=preset_views(tiny, image=("moco_v2", 224)),
            optimizer=dict(name="sgd", lr=0.03, reference_batch=256, weight_decay=1e-4, no_decay=""),
        )
    )
