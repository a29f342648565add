"""data2vec with a small ViT on the embedded Fashion-MNIST subset.

    ssl-jax train --config data2vec_vit_fashion --workdir runs/data2vec

Blocks that hide 29 of 49 patches of 4x4 pixels are mask tokens, and the mean of the teacher's upper layers is told there.
Features are the mean of the patches.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import masked_run

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    objective = dict(
        target="ssl_jax.objectives.data2vec:Data2Vec", top=2 if arg == "tiny" else 3, mask_ratio=0.6, smallest=4,
        momentum=(0.99, 0.9999), beta=2.0, head=(),
    )  # fmt: skip
    return ConfigDict(masked_run(arg, examples=120_000) | dict(objective=objective))
