"""A bi-encoder of terms and their glosses in WordNet; four minutes on one CPU core.

    ssl-jax train --config biencoder_bert_wordnet --workdir runs/biencoder
    ssl-jax eval --workdir runs/biencoder

Karpukhin et al. 2020, arXiv 2004.04906: one encoder for both, a gloss that two terms share is no negative.
Words start far apart and have no places: terms are short, and which words are in a gloss says most.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.text import definitions, wordnet_run

RESULT = "MRR 24.7 % among 9,804 glosses (random init 9.0, TF-IDF 27.8)"


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.biencoder:BiEncoder", same="synset"),
            optimizer=dict(name="adamw", lr=2e-3, weight_decay=0.01, clip=1.0),
            **wordnet_run(
                arg, 256_000, length=32, batch=256, depth=1, pool="mean", dropout=0.1, positions="none", initial="t5"
            )
            | definitions(arg == "tiny", length=32, query_length=8),
        )
    )
