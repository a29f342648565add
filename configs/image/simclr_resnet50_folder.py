"""SimCLR with a ResNet-50 on a folder of pictures, for one GPU: 224 pixels.

    ssl-jax train --data /photos --config simclr_resnet50_folder --workdir runs/mine

Optimiser, temperature and sizes of the head as solo-learn has them for batches of 256; views as in arXiv 2002.05709.
Random crops are cut from whole pictures on the host (`data.crop`); flips and colours follow on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.data.image.presets import PRESETS
from ssl_jax.recipe.fragments.image import folder_run, folder_views, resnet, small_conv

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    head = dict(hidden=(32,), out=16) if tiny else dict(hidden=(2048,), out=256)
    return ConfigDict(
        folder_run(tiny, 224, batch_size=256, epochs=200)
        | dict(
            objective=dict(target="ssl_jax.objectives.simclr:SimCLR", temperature=0.2, **head),
            model=small_conv(widths=(8, 16, 32), strides=(2, 2, 2), kernels=(3, 3, 3), cells=1) if tiny else resnet(50),
            augment=folder_views(tiny, 224, image=PRESETS["simclr"]),
            optimizer=dict(name="lars", lr=0.4, reference_batch=256, weight_decay=1e-4, eta=0.02),
        )
    )
