"""Joint-embedding methods with a ResNet-18 on CIFAR-10, after solo-learn: `joint_resnet18_cifar10:vicreg`.

    ssl-jax train --config joint_resnet18_cifar10:byol --workdir runs/byol-cifar10

`:tiny` is SimCLR on embedded images. CIFAR-10 is read from a prepared TFDS data set.
"""

from ml_collections import ConfigDict

from ssl_jax.errors import UserError
from ssl_jax.recipe.fragments.common import evaluation
from ssl_jax.recipe.fragments.image import CIFAR10_PIXELS, embedded, in1k_run, preset_views, resnet

RESULT = "not run here; solo-learn reports 89 to 93 % linear after 1000 epochs"

# Objective, learning rate at 256 examples, weight decay. LARS has eta = 0.02, without solo-learn's clipping of rates.
METHODS = {
    "simclr": (dict(target="simclr:SimCLR", temperature=0.2, out=256), 0.4, 1e-4),
    "byol": (dict(target="byol:BYOL", momentum=(0.99, 1.0)), 1.0, 1e-5),
    "moco": (dict(target="moco:MoCo", temperature=0.2, hidden=(2048,), queue=32768, momentum=0.99, bn=8), 0.3, 1e-4),
    "moco_v3": (dict(target="moco_v3:MoCoV3", momentum=(0.99, 1.0), hidden=(4096,), predictor_norm=False), 0.3, 1e-6),
    "simsiam": (dict(target="simsiam:SimSiam"), 0.5, 1e-5),
    "barlow_twins": (dict(target="barlow_twins:BarlowTwins", hidden=(2048, 2048), out=2048, scale=0.1), 0.3, 1e-4),
    "vicreg": (dict(target="vicreg:VICReg", hidden=(2048, 2048), out=2048), 0.3, 1e-4),
    "swav": (dict(target="swav:SwAV", queue=3840, queue_start=0.05), 0.6, 1e-6),
}
SGD = ("moco", "simsiam")


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    method = "simclr" if arg in ("", "tiny") else arg
    if method not in METHODS:
        raise UserError(f"joint_resnet18_cifar10:{arg}: no such method; use one of {', '.join(METHODS)}")
    objective, lr, decay = METHODS[method]
    cifar = lambda split: dict(target="ssl_jax.data.sources:Tfds", name="cifar10", split=split, size=32)  # noqa: E731
    preset = "simclr_cifar" if method in ("simclr", "swav", "moco", "simsiam") else "byol_cifar"
    config = in1k_run(tiny, batch_size=256, epochs=1000, warmup=10) | dict(
        objective=objective | dict(target=f"ssl_jax.objectives.{objective['target']}"),
        augment=preset_views(False, CIFAR10_PIXELS, image=(preset, 32)) | dict(crop_fraction=1.0),
        optimizer=dict(name="lars", lr=lr, reference_batch=256, weight_decay=decay, eta=0.02),
        evaluate=evaluation("student", tiny),
    )
    if method in SGD:
        config["optimizer"]["name"] = "sgd"
    if tiny:
        tiny_views = preset_views(True, image=(preset, 224))
        return ConfigDict(config | dict(augment=tiny_views, data=embedded(limit=500)))
    data = dict(pretrain=cifar("train"), probe=cifar("train"), test=cifar("test"), examples=50_000)
    return ConfigDict(config | dict(model=resnet(18, stem="small"), data=data))
