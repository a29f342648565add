"""MoCo v3 with a ViT-S/16 of 12 heads on ImageNet, as in arXiv 2104.02057.

    ssl-jax train --config moco_v3_vit_in1k --workdir runs/moco_v3

AdamW with decay on all parameters; the patch embedding stays as it was drawn.
Random crops are cut from whole pictures on the host (`data.crop`); flips and colours follow on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import in1k_run, preset_views, small_vit

RESULT = "not run here; the authors report 73.2 % linear"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    return ConfigDict(
        in1k_run(tiny, batch_size=4096, epochs=300, warmup=40)
        | dict(
            objective=dict(target="ssl_jax.objectives.moco_v3:MoCoV3", temperature=0.2, momentum=(0.99, 1.0))
            | (dict(hidden=(32, 32), predictor_hidden=(32,), out=16) if tiny else {}),
            augment=preset_views(tiny, image=("moco_v3", 224)),
            optimizer=dict(
                name="adamw",
                lr=1.5e-4,
                reference_batch=256,
                weight_decay=0.1,
                b2=0.999,
                no_decay="",
                groups=((r"encoder/patch_embed/", dict(lr_scale=0.0)),),
            ),
            model=small_vit(32, 1, 2, 4) if tiny else small_vit(384, 12, 12, 16, pool="class"),
        )
    )
