"""SimMIM with ViT-B/16 on ImageNet-1k with the paper's hyper-parameters, for a slice or a cluster.

    ssl-jax plan --config simmim_vitb_in1k --topology v5e:8x8
    ssl-jax train --config simmim_vitb_in1k --workdir runs/simmim-vitb

Xie et al. 2021, arXiv 2111.09886, section 4: units of 32 pixels, 60 % hidden, 800 epochs, the rate at a tenth after 700. Relative
positions are shared by all blocks and not decayed. Put the images at data/imagenet/train/<class>, or set data.pretrain.root.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import masked_in1k

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    views = dict(count=1, scale=(0.67, 1.0), flip=0.5, interpolation="bicubic")
    return ConfigDict(
        masked_in1k(tiny, 800, views, read=9, layer_scale=0.1, drop_path=0.1)
        | dict(
            objective=dict(target="ssl_jax.objectives.simmim:SimMIM", mask_ratio=0.6, unit=1 if tiny else 2),
            optimizer=dict(
                name="adamw", lr=1e-4, reference_batch=512, b2=0.999, weight_decay=0.05, clip=5.0,
                groups=((r"relative/table$", dict(weight_decay=0.0)),),
            ),
            schedule=dict(name="cosine", warmup_percent=5) if tiny
            else dict(name="milestones", milestones=(0.875,), factor=0.1, warmup_epochs=10),
        )
    )  # fmt: skip
