"""Optimisers and schedules.

Schedules are pure functions of the step (a traced scalar). Rules that depend on the parameter are data: regexes on its
path (`encoder/transformer/blocks/qkv/kernel`). Transformer layers are stacked along axis 0 under `blocks`, and norms that
belong to one layer are taken over the other axes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from ssl_jax.errors import UserError
from ssl_jax.mesh import STACK, path_name

Schedule = Callable[[Array], Array]
Groups = Sequence[tuple[str, Mapping[str, float]]]

# Biases, norm parameters, tokens and position tables are not decayed (MAE, I-JEPA, SimCLR). By name, not by rank: the
# layer axis makes a stacked bias look like a matrix.
NO_DECAY = r"(^|/)(bias|scale|class_token|class_position|positions|registers|mask_token)$"


def warmup_cosine(peak: float, total: int, warmup: int = 0, final: float = 0.0, start: float = 0.0) -> Schedule:
    """Linear from `start` to `peak` over `warmup` steps, then half a cosine down to `final` at `total`."""

    def schedule(step: Array) -> Array:
        rising = start + (peak - start) * step / max(warmup, 1)
        share = jnp.clip((step - warmup) / max(total - warmup, 1), 0.0, 1.0)
        falling = final + (peak - final) * 0.5 * (1 + jnp.cos(jnp.pi * share))
        return jnp.where(step < warmup, rising, falling)

    return schedule


def warmup_constant(peak: float, total: int, warmup: int = 0, final: float = 0.0, start: float = 0.0) -> Schedule:
    """Linear from `start` to `peak` over `warmup` steps, then constant. `total` and `final` have no effect."""
    return lambda step: start + (peak - start) * jnp.minimum(step / max(warmup, 1), 1.0)


def cosine(start: float, end: float, total: int) -> Schedule:
    """Half a cosine from `start` at step 0 to `end` at `total` (weight decay in DINO and I-JEPA)."""
    return lambda step: end + (start - end) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(step / total, 0.0, 1.0)))


def warmup_milestones(
    peak: float,
    total: int,
    warmup: int = 0,
    final: float = 0.0,
    start: float = 0.0,
    milestones: Sequence[float] = (),
    factor: float = 0.1,
) -> Schedule:
    """Linear from `start` to `peak`, which is multiplied by `factor` at each of the `milestones`, fractions of `total`."""

    def schedule(step: Array) -> Array:
        passed = sum((step >= round(m * total)) * 1.0 for m in milestones)
        return (start + (peak - start) * jnp.minimum(step / max(warmup, 1), 1.0)) * factor**passed

    return schedule


SCHEDULES = {"cosine": warmup_cosine, "constant": warmup_constant, "milestones": warmup_milestones}


def path_mask(pattern: str, params: Any) -> Any:
    """True on the leaves whose path matches the regex; an empty one matches nothing."""
    return jax.tree_util.tree_map_with_path(lambda p, _: _matches(pattern, path_name(p)), params)


def _matches(pattern: str, name: str) -> bool:
    return bool(pattern and re.search(pattern, name))


class CountState(NamedTuple):
    """How many updates were applied."""

    count: Array


def decay_and_scale(
    lr: Schedule,
    weight_decay: Schedule,
    groups: Groups = (),
    no_decay: str = NO_DECAY,
) -> optax.GradientTransformation:
    """`update = -lr(t) * s * (u + wd(t) * d * w)`: decoupled weight decay, both on schedules.

    `groups` are `(path regex, {"lr_scale": s, "weight_decay": d, "lr": c, "freeze_until": n})`, all optional; the first
    match wins. d multiplies the schedule's decay and is 0 for paths that match `no_decay`; c stands in for lr(t); for the
    first n steps the whole update is 0, though moments and momentum already follow the gradient.
    """

    def update(updates: Any, state: CountState, params: Any) -> tuple[Any, CountState]:
        rate, decay = lr(state.count), weight_decay(state.count)

        def step(path: tuple, u: Array, w: Array) -> Array:
            name = path_name(path)
            rule = next((r for pattern, r in groups if re.search(pattern, name)), {})
            decayed = rule.get("weight_decay", 0.0 if _matches(no_decay, name) else 1.0)
            scale = rule.get("lr_scale", 1.0) * (state.count >= rule.get("freeze_until", 0))
            return (-rule.get("lr", rate) * scale * (u + decay * decayed * w)).astype(w.dtype)

        return jax.tree_util.tree_map_with_path(step, updates, params), CountState(state.count + 1)

    return optax.GradientTransformation(lambda params: CountState(jnp.zeros((), jnp.int32)), update)


def add_decay(weight_decay: Schedule, no_decay: str = NO_DECAY) -> optax.GradientTransformation:
    """`g + wd(t) * w` except on paths that match `no_decay`: coupled (L2) weight decay, as in SGD and LARS."""

    def update(updates: Any, state: CountState, params: Any) -> tuple[Any, CountState]:
        decay, skip = weight_decay(state.count), path_mask(no_decay, params)
        add = lambda g, w, s: g if s else g + (decay * w).astype(g.dtype)  # noqa: E731
        return jax.tree.map(add, updates, params, skip), CountState(state.count + 1)

    return optax.GradientTransformation(lambda params: CountState(jnp.zeros((), jnp.int32)), update)


def trust_ratio(eta: float = 1e-3, exclude: str = NO_DECAY) -> optax.GradientTransformation:
    """LARS: scale each parameter's update by `eta * ||w|| / ||u||` (You, Gitman, Ginsburg 2017, arXiv 1708.03888, eq. 6).

    The ratio is 1 where a norm is zero and on paths that match `exclude`. Stacked layers get one ratio each.
    """

    def update(updates: Any, state: Any, params: Any) -> tuple[Any, Any]:
        def scale(path: tuple, u: Array, w: Array) -> Array:
            name = path_name(path)
            if _matches(exclude, name):
                return u
            norm_w, norm_u = _layer_norm(name, w), _layer_norm(name, u)
            ratio = jnp.where((norm_w > 0) & (norm_u > 0), eta * norm_w / jnp.where(norm_u > 0, norm_u, 1.0), 1.0)
            return u * ratio

        return jax.tree_util.tree_map_with_path(scale, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def separate_trust_ratio(weight_decay: Schedule, eta: float = 1e-3) -> optax.GradientTransformation:
    """`r (g + wd(t) w)` with `r = eta ||w|| / (||g|| + wd(t) ||w|| + 1e-8)`: LARS as its paper and apex's LARC write it.

    On all parameters. Where a norm is zero, g stays as it is. Stacked layers get one ratio each.
    """

    def update(updates: Any, state: CountState, params: Any) -> tuple[Any, CountState]:
        decay = weight_decay(state.count)

        def scale(path: tuple, g: Array, w: Array) -> Array:
            norm_w, norm_g = (_layer_norm(path_name(path), x) for x in (w, g))
            ratio = eta * norm_w / (norm_g + decay * norm_w + 1e-8)
            return jnp.where((norm_w > 0) & (norm_g > 0), ratio * (g + decay * w), g).astype(g.dtype)

        return jax.tree_util.tree_map_with_path(scale, updates, params), CountState(state.count + 1)

    return optax.GradientTransformation(lambda params: CountState(jnp.zeros((), jnp.int32)), update)


def _layer_norm(name: str, x: Array) -> Array:
    axes = tuple(range(1 if f"/{STACK}/" in f"/{name}" else 0, x.ndim))
    return jnp.sqrt(jnp.sum(jnp.square(x), axes, keepdims=True))


def scale_by_rate(lr: Schedule, groups: Groups = ()) -> optax.GradientTransformation:
    """`-lr(t) * s * u`, with the rules of `groups`."""
    return decay_and_scale(lr, lambda step: 0.0, groups)


def adamw(
    lr: Schedule,
    weight_decay: Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    groups: Groups = (),
    no_decay: str = NO_DECAY,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2017, arXiv 1711.05101), both on schedules."""
    return optax.chain(optax.scale_by_adam(b1, b2, eps), decay_and_scale(lr, weight_decay, groups, no_decay))


def sgd(
    lr: Schedule,
    weight_decay: Schedule,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    groups: Groups = (),
    no_decay: str = NO_DECAY,
) -> optax.GradientTransformation:
    """SGD with momentum and L2 weight decay: `m = mu m + g + wd w; w -= lr m`."""
    decayed = add_decay(weight_decay, no_decay)
    return optax.chain(decayed, optax.trace(momentum, nesterov), scale_by_rate(lr, groups))


def lars(
    lr: Schedule, weight_decay: Schedule, *, momentum: float = 0.9, eta: float = 1e-3, groups: Groups = ()
) -> optax.GradientTransformation:
    """LARS as in the code of BYOL, Barlow Twins, VICReg, MoCo v3 and DINO: `m = mu m + r (g + wd w); w -= lr m`."""
    rate = scale_by_rate(lr, groups)
    return optax.chain(add_decay(weight_decay), trust_ratio(eta), optax.trace(momentum), rate)


def lars_simclr(
    lr: Schedule, weight_decay: Schedule, *, momentum: float = 0.9, eta: float = 1e-3, groups: Groups = ()
) -> optax.GradientTransformation:
    """LARS as in SimCLR's code: `v = mu v + lr r (g + wd w); w -= v`. Differs from `lars` while the rate changes."""
    rate = scale_by_rate(lr, groups)
    return optax.chain(add_decay(weight_decay), trust_ratio(eta), rate, optax.trace(momentum))


def larc(
    lr: Schedule, weight_decay: Schedule, *, momentum: float = 0.9, eta: float = 1e-3, groups: Groups = ()
) -> optax.GradientTransformation:
    """LARC around SGD, without clipping, as in SwAV's code: `separate_trust_ratio`, then momentum."""
    return optax.chain(separate_trust_ratio(weight_decay, eta), optax.trace(momentum), scale_by_rate(lr, groups))


OPTIMIZERS = {"adamw": adamw, "sgd": sgd, "lars": lars, "lars_simclr": lars_simclr, "larc": larc}


def with_clip(optimizer: optax.GradientTransformation, clip: float | None) -> optax.GradientTransformation:
    """`optimizer` behind a clip of the global gradient norm, or as it is where `clip` is None."""
    return optimizer if clip is None else optax.chain(optax.clip_by_global_norm(clip), optimizer)


def from_recipe(
    section: Any, schedule: Any, peak: float, total: int, warmup: int
) -> tuple[optax.GradientTransformation, Schedule]:
    """The optimiser and learning-rate schedule of a recipe's `optimizer` and `schedule` sections.

    `peak` is the learning rate after batch-size scaling; `total` and `warmup` are in steps. Options that the named
    optimiser does not take (`b1` of AdamW under SGD) are not passed on.
    """
    if schedule.name not in SCHEDULES:
        raise UserError(f"schedule.name={schedule.name!r} is unknown; use one of {', '.join(SCHEDULES)}")
    if section.name not in OPTIMIZERS:
        raise UserError(f"optimizer.name={section.name!r} is unknown; use one of {', '.join(OPTIMIZERS)}")
    shape = SCHEDULES[schedule.name]
    extra = _options(schedule, shape, ("warmup", "final", "start"))
    lr = shape(peak, total, warmup, schedule.final * peak, schedule.start * peak, **extra)
    end = section.weight_decay if section.weight_decay_final is None else section.weight_decay_final
    make = OPTIMIZERS[section.name]
    options = _options(section, make, ("lr", "weight_decay"))
    options["groups"] = [(pattern, _with_rate(rule, peak)) for pattern, rule in section.groups]
    if section.no_decay is None:
        options.pop("no_decay", None)
    return with_clip(make(lr, cosine(section.weight_decay, end, total), **options), section.clip), lr


def _options(section: Any, make: Callable, done: Sequence[str]) -> dict[str, Any]:
    """What `section` has for the parameters of `make`, but for those that are `done`."""
    return {n: getattr(section, n) for n in inspect.signature(make).parameters if n not in done and hasattr(section, n)}


def _with_rate(rule: Mapping[str, Any], peak: float) -> dict[str, Any]:
    """A recipe's rule in numbers: `constant` is the peak learning rate throughout (SimSiam's predictor)."""
    return {k: v for k, v in rule.items() if k != "constant"} | ({"lr": peak} if rule.get("constant") else {})
