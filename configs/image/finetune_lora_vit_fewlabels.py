"""LoRA after pretraining: 1.6 % of a small ViT's parameters learn from 100 labels per class of embedded Fashion-MNIST.

    ssl-jax finetune --from runs/simclr_vit --config finetune_lora_vit_fewlabels --workdir runs/lora

Rank 8 on the projection of every attention, merged when the encoder is evaluated; the rest of the encoder has no optimiser state.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.finetune import few_labels, finetuning, own_evaluation
from ssl_jax.recipe.fragments.image import FASHION_PIXELS, embedded, image_views, small_vit


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    width, depth, heads = (32, 2, 2) if tiny else (96, 4, 3)
    data = embedded(limit=200 if tiny else None)
    objective = finetuning("lora", classes=10, smoothing=0.1)
    return ConfigDict(
        dict(
            seed=0,
            batch_size=32 if tiny else 64,
            total_examples=256 if tiny else 16_000,
            objective=objective | dict(adapt=objective["adapt"] | dict(targets="proj/kernel$")),
            model=small_vit(width, depth, heads, 7, class_token=False, remat="none", cells=1, unroll=depth),
            data=data | dict(pretrain=few_labels(data["probe"], 10 if tiny else 100)),
            augment=image_views(28, FASHION_PIXELS, dict(count=1, scale=(0.6, 1.0), flip=0.5)),
            optimizer=dict(name="adamw", lr=1e-2, b2=0.999, weight_decay=0.05),
            schedule=dict(name="cosine", warmup_percent=10),
            checkpoint=dict(every_percent=50),
            evaluate=own_evaluation(),
            log=dict(every_steps=4 if tiny else 25),
        )
    )
