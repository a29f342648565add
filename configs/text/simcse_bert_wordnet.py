"""SimCSE with a small BERT on WordNet's glosses; ten minutes on two CPU cores.

    ssl-jax train --config simcse_bert_wordnet --workdir runs/simcse
    ssl-jax eval --workdir runs/simcse

Gao et al. 2021, arXiv 2104.08821. From random weights, where the paper starts from BERT's.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.text import text_views, wordnet_run

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.simcse:SimCSE"),
            optimizer=dict(name="adamw", lr=5e-4, weight_decay=0.01, clip=1.0),
            **wordnet_run(arg, 100_000, length=32, pool="mean", dropout=0.1) | dict(augment=text_views(count=2)),
        )
    )
