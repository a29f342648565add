"""Span corruption with a small T5 on WordNet's glosses; a quarter of an hour on two CPU cores.

    ssl-jax train --config denoising_t5_wordnet --workdir runs/t5
    ssl-jax eval --workdir runs/t5

Raffel et al. 2019, arXiv 1910.10683. Packed rows of 128 tokens; the probes predict the lexicographer's file (45 classes).
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.text import T5, encoder_decoder, wordnet_run

RESULT = "3.73 nats a written token after 16k rows; features no better than random init then"


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.denoising:Denoising"),
            optimizer=dict(name="adamw", lr=1e-3, b2=0.98, weight_decay=0.01, clip=1.0),
            **wordnet_run(arg, 200_000, length=128, packed=True, make=encoder_decoder, **T5),
        )
    )
