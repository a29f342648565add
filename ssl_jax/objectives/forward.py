"""One way to run a module inside an objective, with or without BatchNorm."""

from __future__ import annotations

from typing import Any

from flax import linen as nn
from jax import Array


def forward(
    module: nn.Module, params: dict, stats: dict | None, *inputs: Array, method: str = "__call__"
) -> tuple[Array, dict | None]:
    """Training forward pass -> (output, new BatchNorm collection). `stats` is None for modules without BatchNorm."""
    if stats is None:
        return module.apply({"params": params}, *inputs, train=True, method=method), None
    out, changed = module.apply(
        {"params": params, "batch_stats": stats}, *inputs, train=True, method=method, mutable=["batch_stats"]
    )
    return out, changed["batch_stats"]


def forward_views(
    module: nn.Module, params: dict, stats: dict | None, views: Array, method: str = "__call__"
) -> tuple[Array, dict | None]:
    """Views [B, V, ...] through `module` as one batch of B*V rows (one BatchNorm batch) -> ([B, V, F], new stats)."""
    rows = views.reshape(-1, *views.shape[2:])
    out, stats = forward(module, params, stats, rows, method=method)
    return out.reshape(*views.shape[:2], *out.shape[1:]), stats


def init_variables(module: nn.Module, key: Array, *inputs: Any, **options: Any) -> tuple[dict, dict | None]:
    """Fresh (params, BatchNorm collection or None) of a module."""
    variables = module.init(key, *inputs, **options)
    return variables["params"], variables.get("batch_stats")
