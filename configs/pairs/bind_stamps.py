"""Pictures, captions and speech of Tux Paint's stamps in one space, each bound to the pictures.

    tools/fetch_pairs_data --stamps FOLDER --rate 8000 --out data
    ssl-jax train --config bind_stamps --workdir runs/bind
    ssl-jax eval --workdir runs/bind

Girdhar et al. 2023, arXiv 2305.05665, in small. Speech and text find each other although no loss compares them.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.pairs import speech_run, towers

RESULT = "recall @1 of 641 in all six directions 3.6 to 8.1 %; random towers 0.0 to 2.5 %, chance 1.1 %"


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        dict(
            objective=towers("bind:Bind", 64 if arg == "tiny" else 256),
            **speech_run(arg, ("image", "text", "sound"), ("image", "text"), ("image", "sound"), ("sound", "text")),
        )
    )
