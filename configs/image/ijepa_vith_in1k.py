"""I-JEPA with ViT-H/14 on ImageNet-1k with the authors' hyper-parameters, for a slice or a cluster.

    ssl-jax plan --config ijepa_vith_in1k --topology v5p:4x4x4
    ssl-jax train --config ijepa_vith_in1k --workdir runs/ijepa-vith

Assran et al. 2023, arXiv 2301.08243, appendix A. Put the images at data/imagenet/train/<class>, or set data.pretrain.root.
The context is cut to 64 of 256 patches, about what the smallest context of a batch leaves in the authors' code.
Random crops are cut from whole pictures on the host (`data.crop`).
"""

from ml_collections import ConfigDict

from ssl_jax.data.image.presets import PRESETS
from ssl_jax.recipe.fragments.common import evaluation, frozen_evaluation
from ssl_jax.recipe.fragments.image import FASHION_PIXELS, IMAGENET_PIXELS, embedded, image_views, imagenet, small_vit

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    small = dict(predictor_width=32, predictor_depth=1, min_keep=6, context_tokens=16)
    model = dict(class_token=False, remat="none") | ({} if tiny else dict(dtype="bfloat16", attention="auto"))
    return ConfigDict(
        dict(
            seed=0,
            batch_size=32 if tiny else 2048,
            **(dict(total_examples=256) if tiny else dict(total_epochs=300)),
            objective=dict(
                target="ssl_jax.objectives.ijepa:IJEPA", momentum=(0.996, 1.0),
                **(small if tiny else dict(predictor_width=384, predictor_depth=12, context_tokens=64)),
            ),
            model=small_vit(32, 2, 2, 4, **model) if tiny else small_vit(1280, 32, 16, 14, **model),
            data=embedded(limit=500) if tiny else imagenet("data/imagenet"),
            augment=image_views(28 if tiny else 224, FASHION_PIXELS if tiny else IMAGENET_PIXELS, PRESETS["ijepa"]),
            optimizer=dict(
                name="adamw", lr=1e-3, reference_batch=2048, b2=0.999, weight_decay=0.04, weight_decay_final=0.4
            ),
            schedule=dict(
                name="cosine", start=0.2, final=1e-3, **(dict(warmup_percent=5) if tiny else dict(warmup_epochs=40))
            ),
            mesh=dict(data=-1),
            checkpoint=dict(every_percent=5),
            evaluate=evaluation("teacher", tiny) if tiny else frozen_evaluation("teacher"),
            log=dict(every_steps=4 if tiny else 50),
        )
    )  # fmt: skip
