"""RotNet with a ResNet-50 on ImageNet: the task of arXiv 1803.07728 with the optimiser of vissl.

    ssl-jax train --config rotnet_resnet50_in1k --workdir runs/rotnet

The paper itself has an AlexNet: lr=0.1 at batches of 192, tenfold less after 15, 30 and 45 of 50 epochs.
Random crops are cut from whole pictures on the host (`data.crop`), flipped and turned on the device.
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
                target="ssl_jax.objectives.rotnet:RotNet",
            )
            | (dict() if tiny else {}),
            augment=preset_views(tiny, image=("rotnet", 224)),
            optimizer=dict(name="sgd", lr=0.1, reference_batch=256, weight_decay=1e-4, no_decay=""),
        )
    )
