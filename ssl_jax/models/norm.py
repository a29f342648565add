"""Normalisation layers of convolutional encoders and heads, chosen by name."""

from __future__ import annotations

from typing import Any

from flax import linen as nn
from jax import Array

from ssl_jax.errors import UserError

NORMS = ("batch", "group", "none")


class Norm(nn.Module):
    """BatchNorm (decay 0.9, epsilon 1e-5, over the global batch), GroupNorm or nothing.

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
                not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype, use_fast_variance=False, name="bn", **affine
            )
            return norm(x)
        if self.kind == "group":
            groups = next(g for g in range(min(self.groups, x.shape[-1]), 0, -1) if x.shape[-1] % g == 0)
            return nn.GroupNorm(groups, dtype=self.dtype, use_fast_variance=False, name="gn", **affine)(x)
        raise UserError(f"norm={self.kind!r} is unknown; use one of {', '.join(NORMS)}")
