"""Normalisation layers of convolutional encoders and heads, chosen by name."""

from __future__ import annotations

from typing import Any

from flax import linen as nn
from jax import Array

from ssl_jax.errors import UserError

DECAY = 0.9  # of BatchNorm's running statistics; torch's momentum of 0.1
STATS = "batch_stats"
NORMS = ("batch", "group", "none")


class Norm(nn.Module):
    """BatchNorm (decay 0.9, epsilon 1e-5, over the global batch), GroupNorm or nothing.

    The running variance, with which evaluation divides, averages the unbiased ones of batches, as torch's does; Flax's is biased.

    `use_scale`, `use_bias` and `scale_init` are the affine part. GroupNorm takes the largest number of groups up to
    `groups` that divides the channels.
    """

    kind: str = "batch"
    dtype: str = "float32"
    use_scale: bool = True
    use_bias: bool = True
    scale_init: nn.initializers.Initializer = nn.initializers.ones_init()
    groups: int = 8

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """x [B, ..., C] -> the same shape. `train` makes BatchNorm use, and update, the statistics of this batch."""
        affine: dict[str, Any] = {"use_scale": self.use_scale, "use_bias": self.use_bias, "scale_init": self.scale_init}
        if self.kind == "none":
            return x
        if self.kind == "batch":
            norm = nn.BatchNorm(
                not train, momentum=DECAY, epsilon=1e-5, dtype=self.dtype, use_fast_variance=False, name="bn", **affine
            )
            return with_unbiased_variance(norm, x) if train and self._moves(norm) else norm(x)
        if self.kind == "group":
            groups = next(g for g in range(min(self.groups, x.shape[-1]), 0, -1) if x.shape[-1] % g == 0)
            return nn.GroupNorm(groups, dtype=self.dtype, use_fast_variance=False, name="gn", **affine)(x)
        raise UserError(f"norm={self.kind!r} is unknown; use one of {', '.join(NORMS)}")

    def _moves(self, norm: nn.BatchNorm) -> bool:
        return norm.has_variable(STATS, "var") and self.is_mutable_collection(STATS) and not self.is_initializing()


def with_unbiased_variance(norm: nn.BatchNorm, x: Array) -> Array:
    """`norm(x)`, whose running variance moves by the batch's unbiased one."""
    before, count = DECAY * norm.get_variable(STATS, "var"), x.size // x.shape[-1]
    out = norm(x)
    moved = norm.get_variable(STATS, "var") - before
    norm.put_variable(STATS, "var", before + moved * (count / max(count - 1, 1)))
    return out
