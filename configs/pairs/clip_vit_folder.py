"""CLIP on a folder of pictures with captions beside them, x.jpg and x.txt (docs/pairs.md).

    ssl-jax data tokenize text:data/pairs/train --tokenizer wordpiece:4096 --out data/pairs/tokens
    ssl-jax train --config clip_vit_folder --workdir runs/pairs
    ssl-jax search --workdir runs/pairs --query "a dog in the snow" --index test

Radford et al. 2021, arXiv 2103.00020, in a size for tens of thousands of pictures and one GPU.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.pairs import folder_run, towers

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(dict(objective=towers("clip:CLIP", 64 if arg == "tiny" else 256), **folder_run(arg)))
