"""Masked diffusion with the paper's hyper-parameters, on a corpus of your own.

    ssl-jax data tokenize text/ --tokenizer gpt2/tokenizer.json --out data/openwebtext
    ssl-jax plan --config mdlm_dit_corpus --devices 8 --chip a100
    ssl-jax train --config mdlm_dit_corpus --workdir runs/mdlm

Sahoo et al. 2024, arXiv 2406.07524, appendix: a diffusion transformer of 12 layers of width 768, rows of 1,024 tokens, batches of
512, a million steps, AdamW with a constant 3e-4 after 2,500 steps, no decay, dropout 0.1. GPT-2's tokenizer has no mask: it is
one token more (`--config.augment.vocabulary="{'size': 50258, 'mask': 50257}"`); one that `ssl-jax data tokenize` trains has it.
A moving average of the parameters, of momentum 0.9999, validates, samples and is evaluated.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.text import DIT, corpus_run, corpus_views, text_model, token_rows, wordnet_run

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    run = tiny() if arg == "tiny" else corpus()
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.mdlm:MDLM", average=0.9999),
            optimizer=dict(name="adamw", lr=3e-4, b2=0.999, weight_decay=0.0, clip=1.0),
            **run | dict(evaluate=run.get("evaluate", {}) | dict(encoder="average")),
        )
    )


def corpus() -> dict:
    """The run of the paper."""
    return corpus_run(
        512,
        1_000_000,
        text_model(50_258, 768, 12, 12, 1024, **DIT, dropout=0.1, dtype="bfloat16", attention="flash"),
        data=token_rows("openwebtext", 1024, 8_800_000),
        augment=corpus_views("openwebtext", size=50_258, end=50_256, mask=50_257),
        schedule=dict(name="constant", warmup_steps=2500),
    )


def tiny() -> dict:
    """The same on a few glosses of WordNet."""
    schedule = dict(name="constant", warmup_percent=5)
    return wordnet_run("tiny", 0, length=128, packed=True, **DIT, dropout=0.1) | dict(schedule=schedule)
