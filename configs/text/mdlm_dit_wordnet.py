"""Masked diffusion with a small transformer on WordNet's glosses; a quarter of an hour on two CPU cores.

    ssl-jax train --config mdlm_dit_wordnet --workdir runs/mdlm
    ssl-jax eval --workdir runs/mdlm

Sahoo et al. 2024, arXiv 2406.07524. Packed rows of 128 tokens; the probes predict the lexicographer's file (45 classes).
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.text import DIT, wordnet_run

RESULT = "a bound of 5.97 nats a token after 16k rows (unigram 6.77); features below random init then"


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.mdlm:MDLM"),
            optimizer=dict(name="adamw", lr=1e-3, b2=0.999, weight_decay=0.0, clip=1.0),
            **wordnet_run(arg, 200_000, length=128, packed=True, **DIT),
        )
    )
