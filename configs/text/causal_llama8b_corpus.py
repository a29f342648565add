"""Llama 3 with 8 billion parameters and a context of 8,192 tokens, on a corpus of your own.

    ssl-jax data tokenize text/ --tokenizer llama3/tokenizer.json --out data/web
    ssl-jax plan --config causal_llama8b_corpus --topology v5p:8x8x8
    ssl-jax train --config causal_llama8b_corpus --workdir runs/llama8b

Grattafiori et al. 2024, "The Llama 3 Herd of Models", arXiv 2407.21783: table 3 (32 layers of width 4,096, 32 heads and 8 of keys
and values, MLPs of 14,336, rotary base 500,000, rate 3e-4), section 3.4 (8,000 steps of warm-up, a cosine to a hundredth over
1,200,000 steps, no attention between documents). AdamW's numbers are Llama 2's (arXiv 2307.09288, section 2.2).

Fidelity: 512 rows of 8,192 tokens (4 million) at every step, where the authors begin with shorter rows and then double the batch
twice for their largest model; what they say of schedules is of that one. The initial standard deviation is 0.02, which they do
not state.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.text import LLAMA, corpus_run, corpus_views, text_model, token_rows, wordnet_run

RESULT = ""
LLAMA3 = dict(rope_base=500_000.0, norm_epsilon=1e-5)


def get_config(arg: str = "") -> ConfigDict:
    run = tiny() if arg == "tiny" else corpus()
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.causal_lm:CausalLM", tied=False),
            optimizer=dict(name="adamw", lr=3e-4, b2=0.95, eps=1e-5, weight_decay=0.1, clip=1.0),
            **run,
        )
    )


def corpus() -> dict:
    """The run of the paper."""
    sizes = dict(mlp_dim=14_336, kv_heads=8, dtype="bfloat16", attention="flash")
    return corpus_run(
        512,
        1_200_000,
        text_model(128_256, 4096, 32, 32, 8192, **LLAMA, **LLAMA3, **sizes),
        data=token_rows("web", 8192, 1_831_000_000),
        augment=corpus_views("web", size=128_256, start=128_000, end=128_001),
        schedule=dict(name="cosine", warmup_steps=8000, final=0.01),
        mesh=dict(data=1, fsdp=-1),
    )


def tiny() -> dict:
    """The same on a few glosses of WordNet."""
    schedule = dict(name="cosine", warmup_percent=5, final=0.01)
    return wordnet_run("tiny", 0, length=128, packed=True, **LLAMA, **LLAMA3, kv_heads=1) | dict(schedule=schedule)
