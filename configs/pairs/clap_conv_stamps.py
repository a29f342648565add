"""CLAP on spoken descriptions of Tux Paint's stamps and their transcripts.

    tools/fetch_pairs_data --stamps FOLDER --rate 8000 --out data
    ssl-jax train --config clap_conv_stamps --workdir runs/clap
    ssl-jax eval --workdir runs/clap

Wu et al. 2022, arXiv 2211.06687, in small: real speech of about one speaker a language. Both heads have a hidden layer.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.pairs import speech_run, towers

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    learned = towers("clip:CLIP", 64 if arg == "tiny" else 256, hidden=(256,))
    return ConfigDict(dict(objective=learned, **speech_run(arg, ("sound", "text"), ("sound", "text"))))
