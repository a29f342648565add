"""MAE with ViT-L/16 on ImageNet-1k with the paper's hyper-parameters, for a slice or a cluster.

    ssl-jax plan --config mae_vitl_in1k --topology v5e:16x16
    ssl-jax train --config mae_vitl_in1k --workdir runs/mae-vitl

He et al. 2021, arXiv 2111.06377, appendix A.1. Put the images at data/imagenet/train/<class>, or set data.pretrain.root.
Random crops are cut from whole pictures on the host (`data.crop`), and flipped on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.data.image.presets import PRESETS
from ssl_jax.recipe.fragments.common import evaluation, frozen_evaluation
from ssl_jax.recipe.fragments.image import FASHION_PIXELS, IMAGENET_PIXELS, embedded, image_views, imagenet, small_vit

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    decoder = dict(decoder_width=32, decoder_depth=2, decoder_heads=2) if tiny else {}
    return ConfigDict(
        dict(
            seed=0,
            batch_size=32 if tiny else 4096,
            **(dict(total_examples=256) if tiny else dict(total_epochs=800)),
            objective=dict(target="ssl_jax.objectives.mae:MAE", mask_ratio=0.75, **decoder),
            model=small_vit(32, 2, 2, 4)
            if tiny
            else small_vit(1024, 24, 16, 16, dtype="bfloat16", remat="none", attention="auto"),
            data=embedded(limit=500) if tiny else imagenet("data/imagenet"),
            augment=image_views(28 if tiny else 224, FASHION_PIXELS if tiny else IMAGENET_PIXELS, PRESETS["mae"]),
            optimizer=dict(name="adamw", lr=1.5e-4, reference_batch=256, b2=0.95, weight_decay=0.05),
            schedule=dict(name="cosine", **(dict(warmup_percent=5) if tiny else dict(warmup_epochs=40))),
            mesh=dict(data=-1),
            checkpoint=dict(every_percent=5),
            evaluate=evaluation("student", tiny) if tiny else frozen_evaluation("student"),
            log=dict(every_steps=4 if tiny else 50),
        )
    )
