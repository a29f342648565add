"""Relative patch position with a ResNet-50 on ImageNet: the task of arXiv 1505.05192.

    ssl-jax train --config relative_position_resnet50_in1k --workdir runs/relative_position

The paper's patches of 96 pixels, 48 apart, in views of 400; its network and optimiser are of another time, these are vissl's.
Random crops are cut from whole pictures on the host (`data.crop`), patches from these on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import in1k_run, preset_views

RESULT = "not run here; no number of the authors for this network"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    return ConfigDict(
        in1k_run(
            tiny, batch_size=256, epochs=105, name="milestones", milestones=(30 / 105, 60 / 105, 90 / 105, 100 / 105)
        )
        | dict(
            objective=dict(
                target="ssl_jax.objectives.relative_position:RelativePosition",
                patch=96,
                gap=48,
                jitter=7,
                patch_out=1000,
                hidden=(),
            )
            | (dict(patch=12, gap=4, jitter=1, patch_out=32) if tiny else {}),
            augment=preset_views(tiny, image=("relative_position", 400)),
            optimizer=dict(name="sgd", lr=0.1, reference_batch=256, weight_decay=1e-4, no_decay=""),
        )
    )
