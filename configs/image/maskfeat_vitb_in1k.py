"""MaskFeat with ViT-B/16 on ImageNet-1k with the paper's hyper-parameters, for a slice or a cluster.

    ssl-jax plan --config maskfeat_vitb_in1k --topology v5e:8x8
    ssl-jax train --config maskfeat_vitb_in1k --workdir runs/maskfeat-vitb

Wei et al. 2021, arXiv 2112.09133, section 4.2 and appendix: blocks hide 40 % of the patches, 1600 epochs. Put the images at
data/imagenet/train/<class>, or set data.pretrain.root.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import masked_in1k

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    views = dict(count=1, scale=(0.5, 1.0), flip=0.5, interpolation="bicubic")
    sizes = dict(smallest=4, cell=4) if tiny else dict(smallest=16, cell=8)
    return ConfigDict(
        masked_in1k(tiny, 1600, views, qkv_bias="all", positions="sincos", initializer="xavier")
        | dict(
            objective=dict(target="ssl_jax.objectives.maskfeat:MaskFeat", mask_ratio=0.4, **sizes),
            optimizer=dict(
                name="adamw", lr=2e-4, reference_batch=256, b2=0.999, weight_decay=0.05, clip=0.02 if not tiny else 1.0
            ),
            schedule=dict(name="cosine", **(dict(warmup_percent=5) if tiny else dict(warmup_epochs=30))),
        )
    )  # fmt: skip
