"""DINOv2 with a ViT-L/16 on ImageNet-1k, the short setup of the code of arXiv 2304.07193.

    ssl-jax train --config dinov2_vitl16_in1k --workdir runs/dinov2

125,000 steps of 2048 images: 100 of its epochs, of 1250 steps each, which are 200 of ImageNet. One head for class tokens and
patches, centring. Its last stage sees crops of 512 pixels for 10,000 steps, all schedules compressed:

    ssl-jax train --config dinov2_vitl16_in1k:high_resolution --config.init_from.workdir=runs/dinov2 --workdir runs/dinov2-512

`dinov2_vitl16_in1k:phases` is both as phases of one run, in which Adam's moments go on.

The paper has 518 pixels, of patches of 14; the size of the local crops is ours. The released ViT-g has two heads of 131072,
Sinkhorn and no layer decay; its augmentation is `dinov2_released`.
Random crops are cut from whole pictures on the host (`data.crop`); flips and colours follow on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.common import in_phases, next_stage
from ssl_jax.recipe.fragments.image import in1k_run, preset_views, tiny_heads, token_adamw, token_vit

RESULT = "not run here; the authors report 81.6 % kNN, 82.9 % linear"


def get_config(arg: str = "") -> ConfigDict:
    if arg == "phases":
        return ConfigDict(in_phases(get_config().to_dict(), high_resolution=get_config("high_resolution").to_dict()))
    tiny, last = arg == "tiny", arg == "high_resolution"
    run = in1k_run(tiny, batch_size=2048, epochs=200, warmup=20, final=1.77e-4)
    if last:
        run = next_stage(run, "runs/dinov2", steps=10_000, warmup_percent=10)
    return ConfigDict(
        run
        | dict(
            objective=tiny_heads(
                tiny,
                target="ssl_jax.objectives.dinov2:DINOv2",
                prototypes=65536,
                hidden=2048,
                bottleneck=256,
                patch_prototypes=0,
                balancing="centre",
                teacher_temperature=(0.04, 0.07),
                temperature_warmup=0.3,
                momentum=(0.992, 1.0),
                mask_ratio=(0.1, 0.5),
                koleo_groups=1 if tiny else 32,
            ),
            augment=preset_views(tiny, image=("dinov2", 512 if last else 224), local=("dinov2_local", 96)),
            optimizer=token_adamw(
                4e-3,
                (r"^head/(prototypes|magnitude)$", dict(zero_lr_until_percent=1)),
                (r"encoder/patch_embed/", dict(lr_scale=0.2)),
                reference_batch=1024,
                scaling="sqrt",
                clip_by="module",
                layer_decay=0.9,
            ),
            model=token_vit(
                tiny,
                "L",
                layer_scale=1e-5,
                drop_path=0.3,
                drop_path_mode="subset",
                drop_path_groups=8 if tiny else 32,
                **({} if tiny else dict(dtype="bfloat16", attention="auto")),
            ),
            evaluate=run["evaluate"] | dict(encoder="teacher"),
        )
    )
