"""Pieces that recipes of text share. Each returns plain values for a section of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.recipe.fragments.common import evaluation
from ssl_jax.recipe.probes import PROBES

WORDNET_TOKENS = 4096
TERM_TO_GLOSS: dict[str, Any] = {
    "target": "ssl_jax.evaluate.probes.pairs:Probe",
    "encoders": ("query", "passage"),
    "same": "synset",
    "shown": ("mrr", "ndcg_10"),
}
# What the blocks of published models do otherwise than a BERT that norms first; sizes are set beside them.
BERT: dict[str, Any] = {"order": "post", "embedding_norm": True, "types": 2, "norm_epsilon": 1e-12, "pool": "class"}
BERT_WORDS = {"size": 30_522, "pad": 0, "unknown": 100, "start": 101, "end": 102, "mask": 103}  # of its tokenizer
GPT2: dict[str, Any] = {"causal": True, "mlp": "gelu_tanh", "norm_epsilon": 1e-5}
LLAMA: dict[str, Any] = {"causal": True, "positions": "rope", "norm": "rms", "bias": False, "mlp": "swiglu"}
T5: dict[str, Any] = {
    "positions": "relative",
    "norm": "rms",
    "bias": False,
    "mlp": "geglu_tanh",
    "attention_scale": 1.0,
    "norm_epsilon": 1e-6,
}
DIT: dict[str, Any] = {
    "positions": "rope",
    "norm": "layer_unbiased",
    "qkv_bias": "none",
    "mlp": "gelu_tanh",
    "condition": 128,
}


def text_model(vocabulary: int, width: int, depth: int, heads: int, length: int, **options: Any) -> dict[str, Any]:
    """The `model` section for a transformer on tokens, with an MLP four times as wide."""
    sizes = {"vocabulary": vocabulary, "width": width, "depth": depth, "heads": heads, "mlp_dim": 4 * width}
    return {"target": "ssl_jax.models.text:TextTransformer", **sizes, "length": length, **options}


def encoder_decoder(vocabulary: int, width: int, depth: int, heads: int, length: int, **options: Any) -> dict[str, Any]:
    """The `model` section for two transformers of one size, of which the second attends to the first."""
    both = [text_model(vocabulary, width, depth, heads, length, causal=causal, **options) for causal in (False, True)]
    return {"target": "ssl_jax.models.text:EncoderDecoder", "encoder": both[0], "decoder": both[1]}


def text_views(**options: Any) -> dict[str, Any]:
    """The `augment` section for the texts that ship."""
    return {"target": "ssl_jax.data.text.views:TextViews", "tokenizer": "wordnet", **options}


def augmented_text(**options: Any) -> dict[str, Any]:
    """The `augment` section for views of the texts that ship: cut, shuffled, with tokens dropped and spans hidden."""
    changes = {"count": 2, "shuffle": True, "crop": (0.5, 1.0), "drop": 0.1, "hide": 0.15}
    return {"target": "ssl_jax.data.text.augmented:AugmentedText", "tokenizer": "wordnet", **changes, **options}


def token_rows(name: str, length: int, examples: int) -> dict[str, Any]:
    """The `data` section for rows of a corpus at data/<name>, made by `ssl-jax data tokenize`; about `examples` rows of it."""
    source = {"target": "ssl_jax.data.sources.tokens:TokenShards", "root": f"data/{name}", "length": length}
    return {"pretrain": source | {"split": "train"}, "examples": examples}


def corpus_views(name: str, **assumed: int) -> dict[str, Any]:
    """The `augment` section of a corpus at data/<name>; `assumed` of its tokenizer where that is not there."""
    return {
        "target": "ssl_jax.data.text.views:TextViews",
        "tokenizer": f"data/{name}/tokenizer.json",
        "assumed": assumed,
    }


def corpus_pairs(name: str, *passages: str, **assumed: int) -> dict[str, Any]:
    """The `augment` section for pairs at data/<name>: a query and these passages, its own first."""
    return corpus_views(name, **assumed) | {"target": "ssl_jax.data.text.pairs:PairViews", "passages": passages}


def lines(name: str, examples: int, **options: Any) -> dict[str, Any]:
    """The `data` section for texts in data/<name>/*.jsonl, with the tokenizer beside them; about `examples` of them."""
    source = {"target": "ssl_jax.data.sources:JsonLines", "files": f"data/{name}/*.jsonl"}
    return {"pretrain": source | {"tokenizer": f"data/{name}/tokenizer.json"} | options, "examples": examples}


def corpus_run(batch_size: int, total_steps: int, model: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """Every section of a run on a corpus but objective, optimiser and schedule; others than the usual ones in `sections`.

    What is learned is measured by the objective's own task (`nats`), as corpora have no labels.
    """
    usual = {
        "mesh": {"data": -1},
        "checkpoint": {"every_steps": 5000, "keep_every_steps": 50_000},
        "log": {"every_steps": 50},
    }
    return {"seed": 0, "batch_size": batch_size, "total_steps": total_steps, "model": model} | usual | sections


def glosses(split: str, tiny: bool, **options: Any) -> dict[str, Any]:
    """A source of single glosses; 500 of them for `:tiny`."""
    return {"target": "ssl_jax.data.sources:Glosses", "split": split, "limit": 500 if tiny else None, **options}


def packed_glosses(split: str, tiny: bool, length: int) -> dict[str, Any]:
    """A source of rows that hold whole glosses; 100 of them for `:tiny`."""
    return {
        "target": "ssl_jax.data.sources:PackedGlosses",
        "split": split,
        "length": length,
        "limit": 100 if tiny else None,
    }


def definitions(tiny: bool, **options: Any) -> dict[str, Any]:
    """The sections `data`, `augment` and `evaluate` of terms and their glosses; 500 of each split for `:tiny`."""
    target = {"target": "ssl_jax.data.sources:Definitions", "limit": 500 if tiny else None, **options}
    return {
        "data": {part: {**target, "split": part} for part in ("pretrain", "probe", "test")},
        "augment": {"target": "ssl_jax.data.text.pairs:PairViews", "tokenizer": "wordnet"},
        "evaluate": evaluation("passage", tiny) | {"shots": (10,), "probes": (*PROBES, TERM_TO_GLOSS)},
    }


def wordnet_run(
    arg: str,
    examples: int,
    length: int = 64,
    packed: bool = False,
    batch: int = 64,
    make: Callable[..., dict[str, Any]] = text_model,
    **model: Any,
) -> dict[str, Any]:
    """Every section of a run of a small transformer on WordNet's glosses but objective and optimiser.

    Rows of `length` tokens; `packed` ones hold several glosses. `arg` is "" or "tiny". `model` are options of what `make`
    makes.
    """
    if arg not in ("", "tiny"):
        raise UserError(f"a recipe of WordNet has no argument {arg!r}; append :tiny, or nothing")
    tiny = arg == "tiny"
    sizes: dict[str, Any] = {"width": 32, "depth": 1, "heads": 2} if tiny else {"width": 128, "depth": 4, "heads": 4}
    sizes |= {"vocabulary": WORDNET_TOKENS, "length": length, "remat": "none"}
    learned = packed_glosses("pretrain", tiny, length) if packed else glosses("pretrain", tiny, length=length)
    return {
        "seed": 0,
        "batch_size": 16 if tiny else batch,
        "total_examples": 64 if tiny else examples,
        "model": make(**sizes | model),
        "augment": text_views(),
        "data": {
            "pretrain": learned,
            **{part: glosses(part, tiny, length=min(length, 64)) for part in ("probe", "test")},
        },
        "schedule": {"name": "cosine", "warmup_percent": 5},
        "mesh": {"data": -1},
        "checkpoint": {"every_percent": 25},
        "evaluate": evaluation("student", tiny) | {"shots": (10,)},
        "log": {"every_steps": 1 if tiny else 50},
    }
