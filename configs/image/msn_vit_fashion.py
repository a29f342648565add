"""MSN with a small ViT on the embedded Fashion-MNIST subset.

    ssl-jax train --config msn_vit_fashion --workdir runs/msn

The second crop loses 15 % of its patches; the small ones are focal views.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import token_adamw, token_run

RESULT = (
    ":full, 120k examples: linear 77.1 % (random init 69.1, supervised 80.3); 100 labels per class 69.6 (59.0, 69.7)"
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
