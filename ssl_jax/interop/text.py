"""What tables of language models share: our `model` section from shapes, and stacks of blocks."""

from __future__ import annotations

from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.interop.family import Facts
from ssl_jax.interop.rules import Rule, below, stacked

TARGET = "ssl_jax.models.text:TextTransformer"
BOTH = "ssl_jax.models.text:EncoderDecoder"


def heads_said(facts: Facts, key: str) -> int:
    """A number of heads in config.json, without which a language model cannot be read. UserError where there is none."""
    heads = facts.config.get(key)
    if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1:
        raise UserError(
            f"config.json beside the weights has {key}={heads!r}; the number of heads is not in the tensors: write it there"
        )
    return heads


def text_model(facts: Facts, words: str, layers: str, heads: int, mlp_dim: int, **options: Any) -> dict[str, Any]:
    """The `model` section of a transformer on tokens."""
    vocabulary, width = facts.shape(words)
    sizes = {"vocabulary": vocabulary, "width": width, "depth": facts.count(layers), "heads": heads, "mlp_dim": mlp_dim}
    return {"target": TARGET, **sizes, **options}


def stack_of(layer: tuple[Rule, ...], layers: str, depth: int) -> tuple[Rule, ...]:
    """The rules of a block, for all blocks, whose names begin with `layers` and the number of the layer."""
    return below(stacked(below(layer, layers), depth), ours="transformer/")
