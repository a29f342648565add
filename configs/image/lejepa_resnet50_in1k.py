"""LeJEPA with a ResNet-50 and 2 + 6 crops on ImageNet, as in arXiv 2511.08544.

    ssl-jax train --config lejepa_resnet50_in1k --workdir runs/lejepa

AdamW; the weight of SIGReg belongs to this batch size. Local crops of 96 pixels.
Random crops are cut from whole pictures on the host (`data.crop`); flips and colours follow on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import LEJEPA_BATCH_RULES, in1k_run, preset_views

RESULT = "not run here; the paper reports 79 % linear for a ViT-H/14"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    return ConfigDict(
        in1k_run(tiny, batch_size=256, epochs=100, warmup=1, final=0.001)
        | dict(
            objective=dict(target="ssl_jax.objectives.lejepa:LeJEPA", weight=0.05)
            | (dict(directions=16, hidden=(32,), out=16) if tiny else {}),
            augment=preset_views(tiny, image=("lejepa", 224), local=("lejepa_local", 96)),
            batch_rules=LEJEPA_BATCH_RULES,
            optimizer=dict(name="adamw", lr=5e-4, weight_decay=5e-4, b2=0.999),
        )
    )
