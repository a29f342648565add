"""SigLIP on emoji in two styles and their names; concepts of the test are in no other split.

    tools/fetch_pairs_data --emoji FOLDER --out data
    ssl-jax train --config siglip_vit_emoji --workdir runs/siglip_emoji
    ssl-jax eval --workdir runs/siglip_emoji

Zhai et al. 2023, arXiv 2303.15343, in small. A record is a concept: which of its styles, and of its names, an
example has is drawn anew each epoch. `:conv` has a convolutional encoder of pictures in the place of the ViT, which learns
sooner from so few. Colours hardly change, since names tell them; words lie far apart at first, and the rate is high, since most
are rare.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.pairs import emoji_run, towers

RESULT = "`:conv`: picture to text @1 9.2 % of 382, text to picture 11.0 %; random towers 0.0 %, chance 0.3 %"


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(dict(objective=towers("siglip:SigLIP", 64 if arg == "tiny" else 256), **emoji_run(arg)))
