"""Who may attend to whom, as three facts that every implementation of attention understands, and the matrix they stand for."""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct
from jax import Array


@struct.dataclass
class Mask:
    """A query attends to a key where all that is given allows it; a token that may attend to nothing gets zeros.

    Args:
        valid: [B, K] bool, the keys that may be attended to.
        causal: whether a query sees only keys at its own place and before; of fewer queries than keys, the last ones.
        segments: [B, Q] int, the documents of a packed row: a query sees the keys of its own number.
        key_segments: [B, K] int, the same of the keys, where they are other tokens than the queries (cross-attention).
    """

    valid: Array | None = None
    causal: bool = struct.field(pytree_node=False, default=False)
    segments: Array | None = None
    key_segments: Array | None = None

    @property
    def per_example(self) -> bool:
        """Whether it says something of single examples."""
        return self.valid is not None or self.segments is not None

    @property
    def of_keys(self) -> Array | None:
        """The segments of the keys."""
        return self.segments if self.key_segments is None else self.key_segments


NO_MASK = Mask()  # everyone to everyone


def allowed(mask: Mask, queries: int, keys: int) -> Array | None:
    """The matrix of a mask, broadcastable to [B, heads, queries, keys], True where attention is allowed. None is everywhere."""
    parts = []
    if mask.valid is not None:
        parts.append(mask.valid[:, None, None, :])
    if mask.segments is not None and (of_keys := mask.of_keys) is not None:
        parts.append(mask.segments[:, None, :, None] == of_keys[:, None, None, :])
    if mask.causal:
        parts.append(jnp.tril(jnp.ones((queries, keys), bool), keys - queries)[None, None])
    return None if not parts else _all(parts)


def _all(parts: list[Array]) -> Array:
    whole = parts[0]
    for part in parts[1:]:
        whole = whole & part
    return whole


def zero_where_nothing(out: Array, mask: Mask, keys: int) -> Array:
    """Attention's output [B, Q, H, d], with zeros for the queries that may attend to nothing."""
    seen = allowed(mask, out.shape[1], keys)
    if seen is None or not (mask.per_example or out.shape[1] > keys):
        return out
    return jnp.where(jnp.moveaxis(seen.any(axis=-1, keepdims=True), 1, 2), out, 0)
