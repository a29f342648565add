"""CLAP on spoken descriptions of Tux Paint's stamps and their transcripts.

    tools/fetch_pairs_data --stamps FOLDER --rate 8000 --out data
    ssl-jax train --config clap_conv_stamps --workdir runs/clap
    ssl-jax eval --workdir runs/clap

Wu et al. 2022, arXiv 2211.06687, in small: real speech of about one speaker a language. Both heads have a hidden layer.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.pairs import speech_run, towers

RESULT = "speech to text @1 8.2 % of 780, text to speech 8.6 %; random towers 1.3 and 1.0 %, chance 0.9 %"


def get_config(arg: str = "") -> ConfigDict:
    learned = towers("clip:CLIP", 64 if arg == "tiny" else 256, hidden=(256,))
    return ConfigDict(dict(objective=learned, **speech_run(arg, ("sound", "text"), ("sound", "text"))))
