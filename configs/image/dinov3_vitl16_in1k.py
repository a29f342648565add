"""DINOv3 with a ViT-L/16 on ImageNet-1k, the small setup of the code of arXiv 2508.10104.

    ssl-jax train --config dinov3_vitl16_in1k --workdir runs/dinov3

125,000 steps of 2048 images, without Gram anchoring; sizes of the heads are those of DINOv2. Gram anchoring is a stage of its
own, of 10,000 steps at 3/5 of the rate (5e-5 to 3e-5 in the paper), whose Gram teacher sees crops of 512 pixels:

    ssl-jax train --config dinov3_vitl16_in1k:gram --config.init_from.workdir=runs/dinov3 --workdir runs/dinov3-gram

`dinov3_vitl16_in1k:phases` is both as phases of one run, in which Adam's moments go on.

The 7B model has 262144 and 98304 prototypes, bottlenecks of 512 and 384, constant rates, layer decay 0.98, a clip of 30,
b2=0.99 and a million steps before the Gram stage.
Random crops are cut from whole pictures on the host (`data.crop`); flips and colours follow on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.common import in_phases, next_stage
from ssl_jax.recipe.fragments.image import in1k_run, preset_views, tiny_heads, token_adamw, token_vit

RESULT = "not run here; the authors report 83.4 % linear"


def get_config(arg: str = "") -> ConfigDict:
    if arg == "phases":
        return ConfigDict(in_phases(get_config().to_dict(), gram=get_config("gram").to_dict()))
    tiny, gram = arg == "tiny", arg == "gram"
    run = in1k_run(tiny, batch_size=2048, epochs=200, warmup=20, final=1e-3)
    if gram:
        run = next_stage(run, "runs/dinov3", steps=10_000, name="constant", warmup_percent=1)
    return ConfigDict(
        run
        | dict(
            objective=tiny_heads(
                tiny,
                target="ssl_jax.objectives.dinov3:DINOv3",
                prototypes=65536,
                hidden=2048,
                bottleneck=256,
                patch_prototypes=65536,
                momentum=(0.992, 1.0),
                gram_momentum=0.999,
                koleo_groups=1 if tiny else 32,
                **(dict(gram_weight=2.0, gram_start=0.0, gram_every=0.2) if gram else {}),
            ),
            augment=preset_views(
                tiny,
                image=("dinov3_released", 256),
                local=("dinov3_local", 96 if tiny else 112),
                **(dict(gram=("dinov3_gram", 512)) if gram else {}),
            ),
            optimizer=token_adamw(
                4e-3 * (3 / 5 if gram else 1),
                (r"head/prototypes$", dict(zero_lr_until_percent=1)),
                (r"encoder/patch_embed/", dict(lr_scale=0.2)),
                reference_batch=1024,
                scaling="sqrt",
                b2=0.99,
                clip_by="module",
                layer_decay=0.9,
            ),
            model=token_vit(
                tiny,
                "L",
                positions="rope",
                rope_rescale=2.0,
                registers=4,
                layer_scale=1e-5,
                qkv_bias="query_value",
                norm_epsilon=1e-5,
                local_norm=True,
                drop_path=0.3,
                drop_path_mode="subset",
                drop_path_groups=8 if tiny else 32,
            ),
            evaluate=run["evaluate"] | dict(encoder="teacher"),
        )
    )
