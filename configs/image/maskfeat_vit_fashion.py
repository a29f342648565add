"""MaskFeat with a small ViT on the embedded Fashion-MNIST subset.

    ssl-jax train --config maskfeat_vit_fashion --workdir runs/maskfeat

Blocks that hide 20 of 49 patches of 4x4 pixels are mask tokens, and the directions of their edges are told. Features are the
mean of the patches.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import masked_run

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    objective = dict(target="ssl_jax.objectives.maskfeat:MaskFeat", mask_ratio=0.4, smallest=4, cell=4)
    return ConfigDict(masked_run(arg, examples=120_000) | dict(objective=objective))
