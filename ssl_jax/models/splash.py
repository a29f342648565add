"""Attention on TPUs by the kernel that ships with jax (splash attention): no matrix of queries and keys leaves the chip."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P

from ssl_jax.devices.mesh import batch_split
from ssl_jax.models.mask import Mask

BLOCK = 128  # the shortest block of tokens that the kernel takes
LONGEST = 512  # blocks of this length where the sequence is long enough: fewer turns of the kernel's loop
NOT_A_KEY, NOT_A_QUERY = -(2**31), -(2**31) + 1  # segments that no token has
NOTHING = -1e30  # a key of this logit and of value zero stands beside the others, and takes all where there are none


def attend_splash(
    query: Array, key: Array, value: Array, mask: Mask, scale: float | None = None, interpret: bool = False
) -> Array:
    """Softmax attention [B, N, H, d], with `mask`, by splash attention; `interpret` computes on any platform, slowly."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    batch, queries, keys = query.shape[0], query.shape[1], key.shape[1]
    lengths = tuple(padded_length(n) for n in (queries, keys))
    q, k, v = (
        _grown(jnp.moveaxis(x, 1, 2), 2, n)
        for x, n in zip((query * scale, key, value), (*lengths, lengths[1]), strict=True)
    )
    ends = zip(_marks(mask, batch, queries, keys), lengths, (NOT_A_QUERY, NOT_A_KEY), strict=True)
    marks = [_grown(mark, 1, n, at) for mark, n, at in ends]
    out = _on_each_device(partial(_kernel, mask.causal, interpret), q, k, v, *marks)
    return jnp.moveaxis(out[:, :, :queries], 2, 1).astype(value.dtype)


def padded_length(tokens: int) -> int:
    """The next length that blocks divide."""
    return -(-tokens // _block(tokens)) * _block(tokens)


def _block(tokens: int) -> int:
    """The largest block that pads no further than the smallest would."""
    least = -(-tokens // BLOCK) * BLOCK
    return max(size for size in range(BLOCK, LONGEST + 1, BLOCK) if least % size == 0)


def _marks(mask: Mask, batch: int, queries: int, keys: int) -> tuple[Array, Array]:
    """The segments of queries and keys [B, N]; what is not valid has one that no query has."""
    of_queries = jnp.zeros((batch, queries), jnp.int32) if mask.segments is None else mask.segments
    of_keys = jnp.zeros((batch, keys), jnp.int32) if mask.of_keys is None else mask.of_keys
    if mask.valid is not None:
        of_keys = jnp.where(mask.valid, of_keys, NOT_A_KEY)
    return of_queries.astype(jnp.int32), of_keys.astype(jnp.int32)


def _grown(x: Array, axis: int, length: int, with_value: float = 0) -> Array:
    """`x`, padded at the end of one axis."""
    widths = [(0, length - n if d == axis else 0) for d, n in enumerate(x.shape)]
    return jnp.pad(x, widths, constant_values=with_value)


def _kernel(causal: bool, interpret: bool, q: Array, k: Array, v: Array, of_queries: Array, of_keys: Array) -> Array:
    """[B, H, N, d] -> [B, H, N, d] on one device."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    shape = (q.shape[2], k.shape[2])
    one = masks.CausalMask(shape) if causal else masks.FullMask(shape)
    rows, columns = _block(shape[0]), _block(shape[1])
    blocks = splash.BlockSizes(rows, columns, None, rows, columns, None, rows, columns)
    run = splash.make_splash_mha(
        masks.MultiHeadMask([one] * q.shape[1]), block_sizes=blocks, head_shards=1, q_seq_shards=1, interpret=interpret
    )
    sinks = jnp.full(q.shape[1], NOTHING, jnp.float32)
    return jax.vmap(lambda q, k, v, *m: run(q, k, v, splash.SegmentIds(*m), sinks))(q, k, v, of_queries, of_keys)


def _on_each_device(kernel: Callable[..., Array], q: Array, k: Array, v: Array, *marks: Array) -> Array:
    """The kernel on each device's share of examples and heads: the partitioner cannot split it by itself."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return kernel(q, k, v, *marks)
    examples = batch_split(q.shape[0])
    heads = "tensor" if k.shape[1] % mesh.shape.get("tensor", 1) == 0 else None
    of_tokens, of_marks = P(examples, heads), P(examples)
    inside = (of_tokens,) * 3 + (of_marks,) * len(marks)
    return jax.shard_map(kernel, in_specs=inside, out_specs=of_tokens, check_vma=False)(q, k, v, *marks)
