"""T5-base with the paper's hyper-parameters, on a corpus of your own.

    ssl-jax data tokenize text/ --tokenizer t5/tokenizer.json --out data/c4
    ssl-jax plan --config denoising_t5base_corpus --topology v3:4x4
    ssl-jax train --config denoising_t5base_corpus --workdir runs/t5

Raffel et al. 2019, arXiv 1910.10683, sections 2.1 and 3.1: two stacks of 12 layers of width 768, batches of 128 rows, 2^19 steps,
Adafactor with a rate of 1 / sqrt(max(step, 10^4)), dropout 0.1. Rows of 568 tokens become sources of 512 and targets of 114. The
last layer is the embedding, divided by the root of the width; 32,100 tokens, of which 100 are sentinels, in a table of 32,128.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.text import T5, corpus_run, corpus_views, encoder_decoder, token_rows, wordnet_run

RESULT = ""
# What version 1.0 does otherwise than 1.1.
FIRST = T5 | dict(mlp="relu", initial="t5", dropout=0.1, attention_dropout=0.1)


def get_config(arg: str = "") -> ConfigDict:
    run = tiny() if arg == "tiny" else corpus()
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.denoising:Denoising", tied=True, scaled=True),
            optimizer=dict(name="adafactor", lr=0.01, weight_decay=0.0),
            **run,
        )
    )


def corpus() -> dict:
    """The run of the paper."""
    return corpus_run(
        128,
        2**19,
        encoder_decoder(32_128, 768, 12, 12, 568, **FIRST, dtype="bfloat16"),
        data=token_rows("c4", 568, 275_000_000),
        augment=corpus_views("c4", size=32_100, pad=0, end=1, unknown=2, sentinels=100),
        schedule=dict(name="inverse_sqrt", warmup_steps=10_000, start=1.0),
    )


def tiny() -> dict:
    """The same on a few glosses of WordNet."""
    schedule = dict(name="inverse_sqrt", warmup_percent=5, start=1.0)
    return wordnet_run("tiny", 0, length=128, packed=True, make=encoder_decoder, **FIRST) | dict(schedule=schedule)
