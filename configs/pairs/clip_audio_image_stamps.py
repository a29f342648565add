"""CLIP's loss between pictures of Tux Paint's stamps and what is said of them; no text is read.

    tools/fetch_pairs_data --stamps FOLDER --rate 8000 --out data
    ssl-jax train --config clip_audio_image_stamps --workdir runs/audio_image
    ssl-jax eval --workdir runs/audio_image

Radford et al. 2021, arXiv 2103.00020, with sounds in the place of texts. `:tiny` pairs pictures and generated sounds by class.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.pairs import speech_run, towers

RESULT = "speech to picture @1 5.1 % of 641, picture to speech 1.9 %; random towers 0.9 and 2.5 %, chance 1.1 %"


def get_config(arg: str = "") -> ConfigDict:
    learned = towers("clip:CLIP", 64 if arg == "tiny" else 256)
    return ConfigDict(dict(objective=learned, **speech_run(arg, ("image", "sound"), ("image", "sound"))))
