"""BEiT with ViT-B/16 on ImageNet-1k with the paper's hyper-parameters, for a slice or a cluster.

    ssl-jax plan --config beit_vitb_in1k --topology v5e:8x8
    ssl-jax train --config beit_vitb_in1k --workdir runs/beit-vitb

Bao et al. 2021, arXiv 2106.08254, section 3.1 and appendix. The 8192 codes are centres of patches of the training images, found
before the first step, where the paper has a dVAE's. Put the images at data/imagenet/train/<class>, or set data.pretrain.root.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import masked_in1k

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    views = dict(count=1, scale=(0.08, 1.0), flip=0.5, interpolation="bicubic", jitter=(0.4, 0.4, 0.4, 0.0))
    sizes = dict(mask_ratio=0.4, smallest=4, codes=32, fit_records=200) if tiny else dict(codes=8192, fit_records=4096)
    return ConfigDict(
        masked_in1k(tiny, 800, views, read=9, layer_scale=0.1, drop_path=0.1)
        | dict(
            objective=dict(target="ssl_jax.objectives.beit:BEiT", **sizes),
            optimizer=dict(name="adamw", lr=1.5e-3, reference_batch=2048, b2=0.999, weight_decay=0.05, clip=3.0),
            schedule=dict(
                name="cosine", **(dict(warmup_percent=5) if tiny else dict(final=1e-5 / 1.5e-3, warmup_epochs=10))
            ),
        )
    )  # fmt: skip
