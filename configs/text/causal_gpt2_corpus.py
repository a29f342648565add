"""GPT-2 with 124 million parameters, on a corpus of your own.

    ssl-jax data tokenize text/ --tokenizer gpt2/tokenizer.json --out data/openwebtext
    ssl-jax plan --config causal_gpt2_corpus --devices 8 --chip a100
    ssl-jax train --config causal_gpt2_corpus --workdir runs/gpt2

Radford et al. 2019: 12 layers of width 768, 50,257 tokens, 512 rows of 1,024 tokens, residual projections divided by the root of
the number of residual branches. What that paper leaves out is GPT-3's of this size (Brown et al. 2020, arXiv 2005.14165, table
2.1 and appendix B): AdamW with 6e-4, betas 0.9 and 0.95, decay 0.1, norm at most 1, a cosine to a tenth, 300 billion tokens.

Fidelity: no dropout, as neither paper names one; documents of a row do not see each other, and positions begin anew in each.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.text import GPT2, corpus_run, corpus_views, text_model, token_rows, wordnet_run

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    run = tiny() if arg == "tiny" else corpus()
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.causal_lm:CausalLM"),
            optimizer=dict(name="adamw", lr=6e-4, b2=0.95, weight_decay=0.1, clip=1.0),
            **run,
        )
    )


def corpus() -> dict:
    """The run of the paper."""
    return corpus_run(
        512,
        572_000,
        text_model(50_257, 768, 12, 12, 1024, **GPT2, initial="gpt2", dtype="bfloat16", attention="flash"),
        data=token_rows("openwebtext", 1024, 8_800_000),
        augment=corpus_views("openwebtext", size=50_257, end=50_256),
        schedule=dict(name="cosine", warmup_steps=2000, final=0.1),
    )


def tiny() -> dict:
    """The same on a few glosses of WordNet."""
    schedule = dict(name="cosine", warmup_percent=5, final=0.1)
    return wordnet_run("tiny", 0, length=128, packed=True, **GPT2, initial="gpt2") | dict(schedule=schedule)
