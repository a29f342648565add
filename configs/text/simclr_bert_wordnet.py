"""SimCLR with a small BERT on WordNet's glosses; three CPU minutes.

    ssl-jax train --config simclr_bert_wordnet --workdir runs/simclr
    ssl-jax eval --workdir runs/simclr

Chen et al. 2020, arXiv 2002.05709, with views of text: sentences shuffled, cut, tokens dropped, spans hidden.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.text import augmented_text, wordnet_run

RESULT = "10 labels per class 20.8 % ± 0.5 over three seeds (random init 7.4, TF-IDF 18.8)"


def get_config(arg: str = "") -> ConfigDict:
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.simclr:SimCLR", hidden=(128,), out=128, head_norm="none"),
            optimizer=dict(name="adamw", lr=2e-3, weight_decay=0.01, clip=1.0),
            **wordnet_run(arg, 76_800, length=32, batch=128, depth=1, pool="mean") | dict(augment=augmented_text()),
        )
    )
