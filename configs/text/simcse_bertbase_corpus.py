"""SimCSE with BERT-base and the paper's numbers, on sentences of your own, from a run of `mlm_bertbase_corpus`.

    ssl-jax plan --config simcse_bertbase_corpus --devices 1 --chip a100
    ssl-jax train --config simcse_bertbase_corpus --workdir runs/simcse --config.init_from.workdir=runs/bert

Gao et al. 2021, arXiv 2104.08821, section 3 and appendix A: a million sentences of 32 tokens, one epoch, 64 rows, 3e-5, dropout
0.1, temperature 0.05. `:supervised` is section 4: 275,601 triples (`query`, `passage`, `negative`: a premise, what follows from
it, and what contradicts it), three epochs, 512 rows, 5e-5. What the paper leaves out is that of the authors' code: AdamW without
decay, norm at most 1, a line to 0 without a warm-up.

Fidelity: the supervised model of the paper keeps its last layer with tanh at test; here both are tested on the class token.
"""

from ml_collections import ConfigDict

from ssl_jax.errors import UserError
from ssl_jax.recipe.fragments.text import (
    BERT,
    BERT_WORDS,
    corpus_pairs,
    corpus_run,
    corpus_views,
    lines,
    text_model,
    text_views,
    wordnet_run,
)

RESULT = ""
DROPOUT = dict(dropout=0.1, attention_dropout=0.1)


def get_config(arg: str = "") -> ConfigDict:
    if arg not in RUNS:
        raise UserError(f"simcse_bertbase_corpus has no argument {arg!r}; append :supervised, :tiny, or nothing")
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.simcse:SimCSE", temperature=0.05),
            optimizer=dict(
                name="adamw", lr=5e-5 if arg == "supervised" else 3e-5, b2=0.999, weight_decay=0.0, clip=1.0
            ),
            schedule=dict(name="optax:linear_schedule", warmup_steps=0),
            **RUNS[arg](),
        )
    )


def bert() -> dict:
    """BERT-base."""
    return text_model(30_522, 768, 12, 12, 512, **BERT, **DROPOUT, dtype="bfloat16")


def sentences() -> dict:
    """One epoch of a million sentences."""
    data = lines("wiki1m", 1_000_000, length=32)
    views = corpus_views("wiki1m", **BERT_WORDS) | dict(count=2)
    return corpus_run(64, 15_625, bert(), data=data, augment=views)


def triples() -> dict:
    """Three epochs of sentences with their like and their opposite."""
    data = lines("nli", 275_601, length=32, text="query,passage,negative")
    return corpus_run(512, 1_615, bert(), data=data, augment=corpus_pairs("nli", "passage", "negative", **BERT_WORDS))


def tiny() -> dict:
    """The same on a few glosses of WordNet."""
    run = wordnet_run("tiny", 0, length=32, **BERT, **DROPOUT) | dict(augment=text_views(count=2))
    return {key: value for key, value in run.items() if key != "schedule"}


RUNS = {"": sentences, "supervised": triples, "tiny": tiny}
