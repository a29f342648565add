"""DINO with a ViT-S/16 on ImageNet, as in arXiv 2104.14294: 100 epochs on 8 GPUs.

    ssl-jax train --config dino_vits16_in1k --workdir runs/dino

For 300 epochs and more the authors train with momentum=0.996, 10 local crops from `dino_long`, teacher_temperature=(0.04, 0.07)
over 30 epochs and magnitude=True; with a batch of 256, momentum=0.9995.
Random crops are cut from whole pictures on the host (`data.crop`); flips and colours follow on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import in1k_run, preset_views, tiny_heads, token_adamw, token_vit

RESULT = "not run here; the authors report 69.3 % kNN, 74.0 % linear"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    run = in1k_run(tiny, batch_size=512, epochs=100, warmup=10, final=1e-3)
    return ConfigDict(
        run
        | dict(
            objective=tiny_heads(
                tiny,
                target="ssl_jax.objectives.dino:DINO",
                prototypes=65536,
                hidden=2048,
                bottleneck=256,
                teacher_temperature=(0.04, 0.04),
                temperature_warmup=0.0,
                momentum=(0.996, 1.0),
            ),
            augment=preset_views(tiny, image=("dino", 224), local=("dino_local", 96)),
            optimizer=token_adamw(
                5e-4, (r"^head/(prototypes|magnitude)$", dict(freeze_until_epochs=1)), reference_batch=256
            ),
            model=token_vit(tiny, "S", drop_path=0.1),
            evaluate=run["evaluate"] | dict(encoder="teacher"),
        )
    )
