"""data2vec with a small BERT on WordNet's glosses.

    ssl-jax train --config data2vec_bert_wordnet --workdir runs/data2vec-text
    ssl-jax eval --workdir runs/data2vec-text

The objective is that of pictures: a learned vector stands for hidden spans of tokens, and the mean of the teacher's upper layers
is told there. Packed rows of 128 tokens; the probes predict the lexicographer's file (45 classes).
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.text import wordnet_run

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    objective = dict(
        target="ssl_jax.objectives.data2vec:Data2Vec", top=1 if arg == "tiny" else 3, mask_ratio=0.15, smallest=1,
        momentum=(0.99, 0.9999), beta=4.0, scale=1.0, head=(64,) if arg == "tiny" else (256,),
    )  # fmt: skip
    return ConfigDict(
        dict(
            objective=objective,
            optimizer=dict(name="adamw", lr=1e-3, b2=0.98, weight_decay=0.01, clip=1.0),
            **wordnet_run(arg, 200_000, length=128, packed=True, pool="mean", mask_vector=True),
        )
    )
