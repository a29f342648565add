"""iBOT with a ViT-S/16 on ImageNet, as in arXiv 2111.07832: 800 epochs.

    ssl-jax train --config ibot_vits16_in1k --workdir runs/ibot

One head of 8192 prototypes for class tokens and patches; half of the large crops are masked, by 10 to 50 %.
Random crops are cut from whole pictures on the host (`data.crop`); flips and colours follow on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import in1k_run, preset_views, tiny_heads, token_adamw, token_vit

RESULT = "not run here; the authors report 75.2 % kNN, 77.9 % linear"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    run = in1k_run(tiny, batch_size=1024, epochs=800, warmup=10, final=5e-4)
    return ConfigDict(
        run
        | dict(
            objective=tiny_heads(
                tiny,
                target="ssl_jax.objectives.ibot:IBOT",
                prototypes=8192,
                hidden=2048,
                bottleneck=256,
                magnitude=True,
                teacher_temperature=(0.04, 0.07),
                temperature_warmup=30 / 800,
                momentum=(0.996, 1.0),
                mask_smallest=4 if tiny else 16,
            ),
            augment=preset_views(tiny, image=("ibot", 224), local=("ibot_local", 96)),
            optimizer=token_adamw(
                5e-4, (r"^head/(prototypes|magnitude)$", dict(freeze_until_epochs=1)), reference_batch=256
            ),
            model=token_vit(tiny, "S", drop_path=0.1),
            evaluate=run["evaluate"] | dict(encoder="teacher"),
        )
    )
