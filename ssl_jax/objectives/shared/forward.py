"""One way to run modules inside an objective, with or without BatchNorm.

`bn` says which rows share BatchNorm statistics. It belongs to the recipe and never to the mesh:

* "joint": all views of the global batch (SimCLR; all crops of one resolution in SwAV).
* "separate": each view of the global batch (BYOL, SimSiam, Barlow Twins, VICReg, MoCo v3).
* a number G: each view is cut into G groups of B/G neighbouring rows (MoCo, whose GPUs had statistics of their own).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.data.augment import View
from ssl_jax.devices.mesh import shard_batch
from ssl_jax.errors import UserError

Chain = Mapping[str, nn.Module]  # the modules that a view goes through, in this order; "encoder" gives its features
BatchNormRule = str | int


@jax.named_scope("forward")
def forward(
    module: nn.Module,
    params: dict,
    stats: dict | None,
    *inputs: Array,
    method: str = "__call__",
    noise: Array | None = None,
) -> tuple[Array, dict | None]:
    """Training forward pass -> (output, new BatchNorm collection). `stats` is None for modules without BatchNorm.

    `noise` is the key of dropout and the like, for modules that have any.
    """
    options: dict[str, Any] = {"train": True, "method": method} | drawing(noise)
    if stats is None:
        return applied(module, params, *inputs, **options), None
    out, changed = module.apply({"params": params, "batch_stats": stats}, *inputs, **options, mutable=["batch_stats"])
    return out, changed["batch_stats"]


@jax.named_scope("forward")
def applied(module: nn.Module, params: Any, *inputs: Any, **options: Any) -> Any:
    """What `module` with these parameters makes of `inputs`, where no BatchNorm statistics are made."""
    return module.apply({"params": params}, *inputs, **options)


def drawing(noise: Array | None) -> dict[str, Any]:
    """The option of a module that draws stochastic depth and the like from this key; none without one, as in evaluation."""
    return {} if noise is None else {"rngs": {"noise": noise}}


def forward_views(
    module: nn.Module,
    params: dict,
    stats: dict | None,
    views: View,
    method: str = "__call__",
    bn: BatchNormRule = "joint",
    noise: Array | None = None,
) -> tuple[Array, dict | None]:
    """Views [B, V, ...] through `module` -> ([B, V, F], new BatchNorm collection), under the rule `bn`.

    The arrays of a view that has several are the arguments of the module. The running statistics are those of the views one
    after the other, and of groups their mean.
    """
    arrays = tuple(shard_batch(x) for x in arrays_of(views))
    batch, count = arrays[0].shape[:2]
    if bn == "joint" or stats is None:  # without BatchNorm rows do not meet, and one call is cheaper than several
        rows = (x.reshape(-1, *x.shape[2:]) for x in arrays)
        out, stats = forward(module, params, stats, *rows, method=method, noise=noise)
        return shard_batch(out.reshape(batch, count, *out.shape[1:])), stats
    groups, outs = check_rule(bn, batch), []
    for view in range(count):
        own = folded(noise, view)
        out, stats = _forward_groups(module, params, stats, [x[:, view] for x in arrays], groups, method, own)
        outs.append(out)
    return shard_batch(jnp.stack(outs, axis=1)), stats


def _forward_groups(
    module: nn.Module,
    params: dict,
    stats: dict | None,
    arrays: Sequence[Array],
    groups: int,
    method: str,
    noise: Array | None,
) -> tuple[Array, dict | None]:
    if groups == 1:
        return forward(module, params, stats, *arrays, method=method, noise=noise)
    rows = [x.reshape(groups, -1, *x.shape[1:]) for x in arrays]
    one = lambda i, *r: forward(module, params, stats, *r, method=method, noise=folded(noise, i))  # noqa: E731
    out, changed = jax.vmap(one)(jnp.arange(groups), *rows)
    return out.reshape(-1, *out.shape[2:]), jax.tree.map(lambda s: s.mean(0), changed)


def folded(noise: Array | None, number: Array | int) -> Array | None:
    """The key of the part with this number; None without one."""
    return None if noise is None else jax.random.fold_in(noise, number)


def arrays_of(view: View) -> tuple[Array, ...]:
    """The arrays of a view, in the order of an encoder's arguments."""
    return view if isinstance(view, tuple) else (view,)


def sliced(views: View, start: int, stop: int) -> View:
    """The views from `start` to `stop` of [B, V, ...]."""
    return jax.tree.map(lambda x: x[:, start:stop], views)


def single(views: View, number: int = 0) -> View:
    """One of the views [B, V, ...], without their axis."""
    return jax.tree.map(lambda x: x[:, number], views)


def check_rule(bn: BatchNormRule, batch: int) -> int:
    """The number of groups that `bn` cuts a view of `batch` rows into.

    Raises UserError for an unknown rule, and for groups that are not equal or have a single row.
    """
    if bn in ("joint", "separate"):
        return 1
    if not isinstance(bn, int) or bn < 1:
        raise UserError(f"bn={bn!r}: whose BatchNorm statistics? Use 'joint', 'separate', or a number of groups")
    if batch % bn or (bn > 1 and batch < 2 * bn):
        below = max((g for g in range(1, bn) if batch % g == 0 and batch >= 2 * g), default=1)
        raise UserError(
            f"a batch of {batch} rows cannot be cut into {bn} equal BatchNorm groups of at least 2; "
            f"use {below} groups, or a batch_size that is a multiple of {2 * bn}"
        )
    return bn


def init_variables(module: nn.Module, key: Array, *inputs: Any, **options: Any) -> tuple[dict, dict | None]:
    """Fresh (params, BatchNorm collection or None) of a module."""
    variables = module.init(key, *inputs, **options)
    return variables["params"], variables.get("batch_stats")


def init_chain(chain: Chain, key: Array, x: View) -> tuple[dict, dict]:
    """Fresh parameters, and the BatchNorm statistics of the modules that have any, for inputs like `x` [B, ...]."""
    params: dict[str, dict] = {}
    stats: dict[str, dict] = {}
    for (name, module), fresh in zip(chain.items(), jax.random.split(key, len(chain)), strict=True):
        params[name], new = init_variables(module, fresh, *arrays_of(x), method=_method(name), train=True)
        x, _ = forward(module, params[name], new, *arrays_of(x), method=_method(name), noise=fresh)
        stats |= {} if new is None else {name: new}
    return params, stats


def forward_chain(
    chain: Chain, params: dict, stats: dict, *views: View, bn: BatchNormRule = "joint", noise: Array | None = None
) -> tuple[dict[str, Array], dict]:
    """Views through every module of `chain` -> (output of each module by name [B, V, F], new statistics).

    `views` are [B, V_r, ...], one for each resolution: the first module sees one resolution at a time, in its own
    BatchNorm batch, and the others see the features of all V crops at once. Each draws noise of its own.
    """
    x: Array | None = None
    outs: dict[str, Array] = {}
    new: dict[str, dict] = {}
    for number, (name, module) in enumerate(chain.items()):
        before = stats.get(name)
        parts = []
        for i, part in enumerate(views if x is None else (x,)):
            own = folded(folded(noise, number), i)
            out, before = forward_views(module, params[name], before, part, _method(name), bn, own)
            parts.append(out)
        x = outs[name] = _side_by_side(parts)
        new |= {} if before is None else {name: before}
    return outs, new


def _side_by_side(parts: list[Array]) -> Array:
    """Outputs [B, V_r, F] of every resolution -> [B, V, F]."""
    widths = sorted({part.shape[-1] for part in parts})
    if len(widths) > 1:
        raise UserError(
            f"crops of different sizes give features of {' and '.join(map(str, widths))} numbers; "
            "average them over places (model.pool='mean'), or use crops of one size"
        )
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=1)


def _method(name: str) -> str:
    return "features" if name == "encoder" else "__call__"
