"""Pieces that recipes of text share. Each returns plain values for a section of a recipe."""

from __future__ import annotations

from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.recipe.fragments.common import evaluation

WORDNET_TOKENS = 4096


def text_model(vocabulary: int, width: int, depth: int, heads: int, length: int, **options: Any) -> dict[str, Any]:
    """The `model` section for a transformer on tokens, with an MLP four times as wide."""
    sizes = {"vocabulary": vocabulary, "width": width, "depth": depth, "heads": heads, "mlp_dim": 4 * width}
    return {"target": "ssl_jax.models.text:TextTransformer", **sizes, "length": length, **options}


def text_views(**options: Any) -> dict[str, Any]:
    """The `augment` section for the texts that ship."""
    return {"target": "ssl_jax.data.text.views:TextViews", "tokenizer": "wordnet", **options}


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


def wordnet_run(arg: str, examples: int, length: int = 64, packed: bool = False, **model: Any) -> dict[str, Any]:
    """Every section of a run of a small transformer on WordNet's glosses but objective and optimiser.

    Rows of `length` tokens; `packed` ones hold several glosses. `arg` is "" or "tiny". `model` are options of the model.
    """
    if arg not in ("", "tiny"):
        raise UserError(f"a recipe of WordNet has no argument {arg!r}; append :tiny, or nothing")
    tiny = arg == "tiny"
    sizes: dict[str, Any] = {"width": 32, "depth": 1, "heads": 2} if tiny else {"width": 128, "depth": 4, "heads": 4}
    sizes |= {"vocabulary": WORDNET_TOKENS, "length": length, "remat": "none"}
    learned = packed_glosses("pretrain", tiny, length) if packed else glosses("pretrain", tiny, length=length)
    return {
        "seed": 0,
        "batch_size": 16 if tiny else 64,
        "total_examples": 64 if tiny else examples,
        "model": text_model(**sizes | model),
        "augment": text_views(),
        "data": {"pretrain": learned, **{part: glosses(part, tiny, length=64) for part in ("probe", "test")}},
        "schedule": {"name": "cosine", "warmup_percent": 5},
        "mesh": {"data": -1},
        "checkpoint": {"every_percent": 25},
        "evaluate": evaluation("student", tiny) | {"shots": (10,)},
        "log": {"every_steps": 1 if tiny else 50},
    }
