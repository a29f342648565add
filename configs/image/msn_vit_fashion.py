"""MSN with a small ViT on the embedded Fashion-MNIST subset.

    ssl-jax train --config msn_vit_fashion --workdir runs/msn

The second crop loses 15 % of its patches; the small ones are focal views.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import token_adamw, token_run

RESULT = (
    "linear 83.3 % (random init 80.3, raw pixels 84.8); 100 labels per class 73.7 (66.9, 79.7), 120k examples of :full"
)


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    return ConfigDict(
        token_run(arg, 120_000)
        | dict(
            objective=dict(
                target="ssl_jax.objectives.msn:MSN",
                prototypes=32 if tiny else 64,
                hidden=64 if tiny else 256,
                out=64,
                momentum=(0.98, 1.0),
            ),
            optimizer=token_adamw(1e-3),
        )
    )
