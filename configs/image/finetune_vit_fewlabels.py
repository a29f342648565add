"""Labels after pretraining: a small ViT on 100 labels per class of the embedded Fashion-MNIST subset.

    ssl-jax finetune --from runs/simclr_vit --config finetune_vit_fewlabels --workdir runs/full
    ssl-jax finetune --from runs/simclr_vit --config finetune_vit_fewlabels:lora --workdir runs/lora
    ssl-jax finetune --from none --config finetune_vit_fewlabels --workdir runs/scratch

The argument is what is learned of the encoder: full (default), linear, last, norms, biases, adapters or lora; or tiny. The
records are those of the first draw of the probe `fewshot`. `ssl-jax train` trains it from scratch.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.finetune import few_labels, finetuning, own_evaluation
from ssl_jax.recipe.fragments.image import FASHION_PIXELS, embedded, image_views, small_vit

# Of full and lora chosen among two to four on labelled records that were not learnt from; the others follow them.
RATES = {"full": 3e-3, "linear": 2e-2, "last": 3e-3, "norms": 1e-2, "biases": 1e-2, "adapters": 3e-3, "lora": 1e-2}


def get_config(arg: str = "") -> ConfigDict:
    tiny, way = arg == "tiny", "full" if arg in ("", "tiny") else arg
    width, depth, heads = (32, 1, 2) if tiny else (96, 4, 3)
    options = {"lora": dict(targets="proj/kernel$"), "adapters": {}}.get(way, {})
    objective = finetuning(way, classes=10, smoothing=0.1)
    data = embedded(limit=200 if tiny else None)
    adapter = dict(adapter=8) if way == "adapters" else {}
    return ConfigDict(
        dict(
            seed=0,
            batch_size=32 if tiny else 64,
            total_examples=256 if tiny else 16_000,
            objective=objective | dict(adapt=objective["adapt"] | options),
            model=small_vit(width, depth, heads, 7, class_token=False, remat="none", cells=1, unroll=depth, **adapter),
            data=data | dict(pretrain=few_labels(data["probe"], 10 if tiny else 100)),
            augment=image_views(28, FASHION_PIXELS, dict(count=1, scale=(0.6, 1.0), flip=0.5)),
            optimizer=dict(name="adamw", lr=RATES[way], b2=0.999, weight_decay=0.05)
            | (dict(layer_decay=0.75) if way == "full" else {}),
            schedule=dict(name="cosine", warmup_percent=10),
            checkpoint=dict(every_percent=50),
            evaluate=own_evaluation(),
            log=dict(every_steps=4 if tiny else 25),
        )
    )
