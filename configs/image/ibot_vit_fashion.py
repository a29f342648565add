"""iBOT with a small ViT on the embedded Fashion-MNIST subset.

    ssl-jax train --config ibot_vit_fashion --workdir runs/ibot

DINO, and masked patches of half of the large crops; one head for both.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import tiny_heads, token_adamw, token_run

RESULT = "480k of :full: linear 85.8 % (random init 80.3, raw pixels 84.8); 100 labels per class 79.5 (66.9, 79.7); 120k: 71.2"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    return ConfigDict(
        token_run(arg, 120_000, drop_path=0.1)
        | dict(
            objective=tiny_heads(
                tiny,
                target="ssl_jax.objectives.ibot:IBOT",
                mask_smallest=2,
                prototypes=256,
                hidden=256,
                bottleneck=64,
                teacher_temperature=(0.04, 0.04),
                momentum=(0.98, 1.0),
                magnitude=True,
            ),
            optimizer=token_adamw(1e-3, (r"^head/(prototypes|magnitude)$", dict(freeze_until_percent=2))),
        )
    )
