"""MSN with a ViT-S/16 on ImageNet, as in arXiv 2204.07141: 800 epochs.

    ssl-jax train --config msn_vits16_in1k --workdir runs/msn

One target view, one anchor that loses 15 % of its patches, ten focal views of 96 pixels.
Random crops are cut from whole pictures on the host (`data.crop`); flips and colours follow on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import in1k_run, preset_views, token_adamw, token_vit

RESULT = "not run here; the authors report 76.9 % linear"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    run = in1k_run(tiny, batch_size=1024, epochs=800, warmup=15, final=1e-3)
    return ConfigDict(
        run
        | dict(
            objective=dict(
                target="ssl_jax.objectives.msn:MSN",
                prototypes=64 if tiny else 1024,
                hidden=64 if tiny else 2048,
                out=16 if tiny else 256,
                temperature=0.1,
                sharpening=0.25,
                mask_ratio=0.15,
                momentum=(0.996, 1.0),
            ),
            augment=preset_views(tiny, image=("msn", 224), local=("msn_local", 96)),
            optimizer=token_adamw(1e-3),
            model=token_vit(tiny, "S"),
            evaluate=run["evaluate"] | dict(encoder="teacher"),
        )
    )
