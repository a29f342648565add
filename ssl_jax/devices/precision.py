"""Which arithmetic must not be narrow."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp


def wide(dtype: Any) -> jnp.dtype:
    """`dtype` or float32, whichever is wider: the type of norms, softmax, statistics, losses and averages."""
    return jnp.promote_types(dtype, jnp.float32)
