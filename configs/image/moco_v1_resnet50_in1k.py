"""MoCo v1 with a ResNet-50 on ImageNet, as in arXiv 1911.05722.

    ssl-jax train --config moco_v1_resnet50_in1k --workdir runs/moco_v1

SGD whose rate falls tenfold after 120 and 160 of 200 epochs; BatchNorm in 8 groups of 32, keys in a random order.
Random crops are cut from whole pictures on the host (`data.crop`); flips and colours follow on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import in1k_run, preset_views

RESULT = "not run here; the paper reports 60.6 % linear"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    return ConfigDict(
        in1k_run(tiny, batch_size=256, epochs=200, name="milestones", milestones=(0.6, 0.8))
        | dict(
            objective=dict(target="ssl_jax.objectives.moco:MoCo", temperature=0.07, queue=65536, momentum=0.999, bn=8)
            | (dict(out=16, queue=64, bn=4) if tiny else {}),
            augment=preset_views(tiny, image=("moco_v1", 224)),
            optimizer=dict(name="sgd", lr=0.03, reference_batch=256, weight_decay=1e-4, no_decay=""),
        )
    )
