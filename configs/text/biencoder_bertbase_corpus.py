"""Dense passage retrieval: two BERT-bases with the paper's numbers, on questions and passages of your own.

    ssl-jax plan --config biencoder_bertbase_corpus --devices 8 --chip v100
    ssl-jax train --config biencoder_bertbase_corpus --workdir runs/dpr
    ssl-jax data mine pretrain --workdir runs/dpr --out negatives.npz

Karpukhin et al. 2020, arXiv 2004.04906, section 5: 58,880 questions of Natural Questions, each with its passage and one hard
negative (BM25's), 128 rows, 40 epochs, Adam with 1e-5, dropout 0.1, similarities as products. What the paper leaves out is that
of the authors' code: 256 tokens, 1,237 steps of warm-up, then a line to 0, no decay, norm at most 2.

Fidelity: parameters are drawn, not BERT's.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.text import (
    BERT,
    BERT_WORDS,
    corpus_pairs,
    corpus_run,
    definitions,
    lines,
    text_model,
    wordnet_run,
)

RESULT = ""
DROPOUT = dict(dropout=0.1, attention_dropout=0.1)


def get_config(arg: str = "") -> ConfigDict:
    run = tiny() if arg == "tiny" else corpus()
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.biencoder:BiEncoder", temperature=1.0, cosine=False),
            optimizer=dict(name="adamw", lr=1e-5, b2=0.999, weight_decay=0.0, clip=2.0),
            **run,
        )
    )


def two(model: dict) -> dict:
    """An encoder of questions, and one of passages."""
    return dict(query=model, passage=model)


def corpus() -> dict:
    """The run of the paper."""
    return corpus_run(
        128,
        18_400,
        two(text_model(30_522, 768, 12, 12, 512, **BERT, **DROPOUT, dtype="bfloat16")),
        data=lines("nq", 58_880, length=256, text="query,passage,negative"),
        augment=corpus_pairs("nq", "passage", "negative", **BERT_WORDS),
        schedule=dict(name="optax:linear_schedule", warmup_steps=1237),
        evaluate=dict(encoder=("query", "passage"), baselines=("random",)),
    )


def tiny() -> dict:
    """The same on a few terms of WordNet, without hard negatives."""
    run = wordnet_run("tiny", 0, **BERT, **DROPOUT) | definitions(tiny=True)
    return run | dict(model=two(run["model"]), schedule=dict(name="optax:linear_schedule", warmup_percent=5))
