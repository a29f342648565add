"""TinyLlama, 1.1 billion parameters of Llama's kind, on a corpus of your own.

    ssl-jax data tokenize text/ --tokenizer llama2/tokenizer.json --out data/slimpajama
    ssl-jax plan --config causal_llama1b_corpus --topology v5e:8x8
    ssl-jax train --config causal_llama1b_corpus --workdir runs/llama1b

Zhang et al. 2024, arXiv 2401.02385, section 2: 22 layers of width 2,048, 32 heads and 4 of keys and values, MLPs of 5,632, 32,000
tokens, two million tokens a step in rows of 2,048, three trillion tokens, AdamW with betas 0.9 and 0.95, a cosine from 4e-4 to
4e-5 after 2,000 steps, decay 0.1, norm at most 1.

Fidelity: documents of a row do not see each other; the initial standard deviation is 0.02, residual branches' not smaller.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.text import LLAMA, corpus_run, corpus_views, text_model, token_rows, wordnet_run

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    run = tiny() if arg == "tiny" else corpus()
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.causal_lm:CausalLM", tied=False),
            optimizer=dict(name="adamw", lr=4e-4, b2=0.95, weight_decay=0.1, clip=1.0),
            **run,
        )
    )


def corpus() -> dict:
    """The run of the paper."""
    sizes = dict(mlp_dim=5632, kv_heads=4, dtype="bfloat16", attention="flash")
    return corpus_run(
        1024,
        1_430_000,
        text_model(32_000, 2048, 22, 32, 2048, **LLAMA, **sizes),
        data=token_rows("slimpajama", 2048, 464_000_000),
        augment=corpus_views("slimpajama", size=32_000, unknown=0, start=1, end=2),
        schedule=dict(name="cosine", warmup_steps=2000, final=0.1),
        mesh=dict(data=1, fsdp=-1),
    )


def tiny() -> dict:
    """The same on a few glosses of WordNet."""
    schedule = dict(name="cosine", warmup_percent=5, final=0.1)
    return wordnet_run("tiny", 0, length=128, packed=True, **LLAMA, kv_heads=1) | dict(schedule=schedule)
