"""BERT-base with the paper's hyper-parameters, on a corpus of your own.

    ssl-jax data tokenize text/ --tokenizer wordpiece:30522 --out data/books_wikipedia
    ssl-jax plan --config mlm_bertbase_corpus --topology v5e:4x4
    ssl-jax train --config mlm_bertbase_corpus --workdir runs/bert

Devlin et al. 2018, arXiv 1810.04805, section 3.1 and appendix A.2: 256 rows of 512 tokens, a million steps, 40 epochs of 3.3
billion words. AdamW's moments are not corrected, as in the authors' code.

Fidelity: no next-sentence prediction (RoBERTa shows that it does not help). All steps see rows of 512 tokens, where the authors
make the first 900,000 with rows of 128. Weights are drawn from a normal distribution that is not cut.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.text import BERT, corpus_run, corpus_views, text_model, token_rows, wordnet_run

RESULT = ""
DROPOUT = dict(dropout=0.1, attention_dropout=0.1)


def get_config(arg: str = "") -> ConfigDict:
    run = tiny() if arg == "tiny" else corpus()
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.mlm:MLM"),
            optimizer=dict(name="adamw_uncorrected", lr=1e-4, b2=0.999, eps=1e-6, weight_decay=0.01, clip=1.0),
            **run,
        )
    )


def corpus() -> dict:
    """The run of the paper."""
    return corpus_run(
        256,
        1_000_000,
        text_model(30_522, 768, 12, 12, 512, **BERT, **DROPOUT, dtype="bfloat16"),
        data=token_rows("books_wikipedia", 512, 6_400_000),
        augment=corpus_views("books_wikipedia", size=30_522, pad=0, unknown=100, start=101, end=102, mask=103),
        schedule=dict(name="optax:linear_schedule", warmup_steps=10_000),
    )


def tiny() -> dict:
    """The same on a few glosses of WordNet."""
    schedule = dict(name="optax:linear_schedule", warmup_percent=5)
    return wordnet_run("tiny", 0, length=128, packed=True, **BERT, **DROPOUT) | dict(schedule=schedule)
