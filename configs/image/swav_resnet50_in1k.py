"""SwAV with a ResNet-50 and 2 + 6 crops on ImageNet, as in arXiv 2006.09882.

    ssl-jax train --config swav_resnet50_in1k --workdir runs/swav

LARC around SGD; no queue at this batch size (at 256: queue=3840, queue_start=0.075, lr=0.6). Prototypes rest for 313 steps.
Random crops are cut from whole pictures on the host (`data.crop`); flips and colours follow on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import SWAV_PIXELS, in1k_run, preset_views

RESULT = "not run here; the paper reports 74.6 % linear after 400 epochs"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    return ConfigDict(
        in1k_run(tiny, batch_size=4096, epochs=400, warmup=10, start=0.3 / 4.8, final=0.001)
        | dict(
            objective=dict(target="ssl_jax.objectives.swav:SwAV", prototypes=3000)
            | (dict(prototypes=16, hidden=(32,), out=16) if tiny else {}),
            augment=preset_views(tiny, SWAV_PIXELS, image=("swav", 224), local=("swav_local", 96)),
            optimizer=dict(
                name="larc",
                lr=4.8,
                weight_decay=1e-6,
                groups=(("^prototypes/", dict(freeze_until_steps=2 if tiny else 313)),),
            ),
        )
    )
