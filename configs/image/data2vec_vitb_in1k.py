"""data2vec with ViT-B/16 on ImageNet-1k with the paper's hyper-parameters, for a slice or a cluster.

    ssl-jax plan --config data2vec_vitb_in1k --topology v5e:8x8
    ssl-jax train --config data2vec_vitb_in1k --workdir runs/data2vec-vitb

Baevski et al. 2022, arXiv 2202.03555, section 4.1: blocks hide 60 % of the patches (120 of 196), 800 epochs, constant momentum.
Put the images at data/imagenet/train/<class>, or set data.pretrain.root.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import masked_in1k

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    views = dict(count=1, scale=(0.08, 1.0), flip=0.5, interpolation="bicubic", jitter=(0.4, 0.4, 0.4, 0.0))
    sizes = dict(mask_ratio=0.6, smallest=4, top=2) if tiny else dict(mask_ratio=120 / 196, smallest=16, top=6)
    return ConfigDict(
        masked_in1k(tiny, 800, views, layer_scale=1e-4, drop_path=0.2, final_norm=False)
        | dict(
            objective=dict(
                target="ssl_jax.objectives.data2vec:Data2Vec", momentum=(0.9998, 0.9998), beta=2.0, **sizes,
            ),
            optimizer=dict(name="adamw", lr=2e-3, reference_batch=2048, b2=0.999, weight_decay=0.05, clip=3.0),
            schedule=dict(name="cosine", **(dict(warmup_percent=5) if tiny else dict(warmup_epochs=40))),
        )
    )  # fmt: skip
