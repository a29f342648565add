"""Optimisers, as chains of optax transformations.

Rules that depend on the parameter are data: regexes on its path (`encoder/transformer/blocks/qkv/kernel`), in
`param_rules.py`. Transformer layers are stacked along axis 0 under `blocks`, and norms that belong to one layer are taken
over the other axes. Rates and decays are functions of the step, in `schedules.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import optax
from jax import Array

from ssl_jax.optim.apart import by_layer, from_thaw
from ssl_jax.optim.muon import orthogonal_or_adam
from ssl_jax.optim.names import (
    OPTAX_OPTIMIZERS,
    OPTAX_SCHEDULES,
    OPTIMIZER_NUMBERS,
    SCHEDULE_NUMBERS,
    chosen,
    direction,
    made,
    options,
    parameters,
    schedule_after_warmup,
)
from ssl_jax.optim.param_rules import (
    NO_DECAY,
    CountState,
    Groups,
    as_it_is,
    clip_norm,
    decay_factor,
    layer_norms,
    map_named,
    matches,
    no_updates_yet,
    rule_for,
    scale_by_adam,
    scale_by_layer,
    with_groups,
)
from ssl_jax.optim.schedules import SCHEDULES, Schedule, ahead, cosine, since


def decay_and_scale(
    lr: Schedule, weight_decay: Schedule, groups: Groups = (), no_decay: str = NO_DECAY
) -> optax.GradientTransformation:
    """`update = -lr(t) * s * (u + wd(t) * d * w)`: decoupled weight decay, both on schedules.

    `groups` give `lr_scale` s, a constant `lr` in the place of lr(t), the factor `weight_decay` d, which is 0 by default on
    paths that match `no_decay`, and `zero_lr_until`, the step from which s counts.
    """

    def update(updates: Any, state: CountState, params: Any) -> tuple[Any, CountState]:
        rate, decay = lr(state.count), weight_decay(state.count)

        def step(name: str, u: Array, w: Array) -> Array:
            rule, factor = rule_for(groups, name), decay_factor(groups, no_decay, name)
            scale = rule.get("lr_scale", 1.0) * rule.get("lr", rate)
            if rule.get("zero_lr_until"):
                scale = jnp.where(state.count >= rule["zero_lr_until"], scale, 0.0)
            return (-scale * (u + decay * factor * w)).astype(w.dtype)

        return map_named(step, updates, params), CountState(state.count + 1)

    return optax.GradientTransformation(no_updates_yet, update)


def add_decay(weight_decay: Schedule, groups: Groups = (), no_decay: str = NO_DECAY) -> optax.GradientTransformation:
    """`g + wd(t) * d * w`, d as in `decay_and_scale`: coupled (L2) weight decay, as in SGD and LARS."""

    def update(updates: Any, state: CountState, params: Any) -> tuple[Any, CountState]:
        decay = weight_decay(state.count)

        def add(name: str, g: Array, w: Array) -> Array:
            factor = decay_factor(groups, no_decay, name)
            return g + (decay * factor * w).astype(g.dtype) if factor else g

        return map_named(add, updates, params), CountState(state.count + 1)

    return optax.GradientTransformation(no_updates_yet, update)


def trust_ratio(eta: float = 1e-3, exclude: str = NO_DECAY) -> optax.GradientTransformation:
    """LARS: scale each parameter's update by `eta * ||w|| / ||u||` (You, Gitman, Ginsburg 2017, arXiv 1708.03888, eq. 6).

    The ratio is 1 where a norm is zero and on paths that match `exclude`. Stacked layers get one ratio each.
    """

    def update(updates: Any, state: Any, params: Any) -> tuple[Any, Any]:
        def scale(name: str, u: Array, w: Array) -> Array:
            if matches(exclude, name):
                return u
            norm_w, norm_u = layer_norms(name, w), layer_norms(name, u)
            ratio = jnp.where((norm_w > 0) & (norm_u > 0), eta * norm_w / jnp.where(norm_u > 0, norm_u, 1.0), 1.0)
            return u * ratio

        return map_named(scale, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def separate_trust_ratio(weight_decay: Schedule, eta: float = 1e-3) -> optax.GradientTransformation:
    """`r (g + wd(t) w)` with `r = eta ||w|| / (||g|| + wd(t) ||w|| + 1e-8)`: LARS as its paper and apex's LARC write it.

    On all parameters. Where a norm is zero, g stays as it is. Stacked layers get one ratio each.
    """

    def update(updates: Any, state: CountState, params: Any) -> tuple[Any, CountState]:
        decay = weight_decay(state.count)

        def scale(name: str, g: Array, w: Array) -> Array:
            norm_w, norm_g = layer_norms(name, w), layer_norms(name, g)
            ratio = eta * norm_w / (norm_g + decay * norm_w + 1e-8)
            return jnp.where((norm_w > 0) & (norm_g > 0), ratio * (g + decay * w), g).astype(g.dtype)

        return map_named(scale, updates, params), CountState(state.count + 1)

    return optax.GradientTransformation(no_updates_yet, update)


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
    return optax.chain(scale_by_adam(b1, b2, eps, groups), decay_and_scale(lr, weight_decay, groups, no_decay))


def adamw_uncorrected(
    lr: Schedule,
    weight_decay: Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    groups: Groups = (),
    no_decay: str = NO_DECAY,
) -> optax.GradientTransformation:
    """AdamW whose moments are not corrected for their start at 0, as in BERT's code (arXiv 1810.04805, appendix A.2)."""
    direction = scale_by_adam(b1, b2, eps, groups, as_it_is)
    return optax.chain(direction, decay_and_scale(lr, weight_decay, groups, no_decay))


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
    decayed = add_decay(weight_decay, groups, no_decay)
    return optax.chain(decayed, optax.trace(momentum, nesterov), scale_by_rate(lr, groups))


def lars(
    lr: Schedule, weight_decay: Schedule, *, momentum: float = 0.9, eta: float = 1e-3, groups: Groups = ()
) -> optax.GradientTransformation:
    """LARS as in the code of BYOL, Barlow Twins, VICReg, MoCo v3 and DINO: `m = mu m + r (g + wd w); w -= lr m`."""
    rate = scale_by_rate(lr, groups)
    return optax.chain(add_decay(weight_decay, groups), trust_ratio(eta), optax.trace(momentum), rate)


def lars_simclr(
    lr: Schedule, weight_decay: Schedule, *, momentum: float = 0.9, eta: float = 1e-3, groups: Groups = ()
) -> optax.GradientTransformation:
    """LARS as in SimCLR's code: `v = mu v + lr r (g + wd w); w -= v`. Differs from `lars` while the rate changes."""
    rate = scale_by_rate(lr, groups)
    return optax.chain(add_decay(weight_decay, groups), trust_ratio(eta), rate, optax.trace(momentum))


def larc(
    lr: Schedule, weight_decay: Schedule, *, momentum: float = 0.9, eta: float = 1e-3, groups: Groups = ()
) -> optax.GradientTransformation:
    """LARC around SGD, without clipping, as in SwAV's code: `separate_trust_ratio`, then momentum."""
    return optax.chain(separate_trust_ratio(weight_decay, eta), optax.trace(momentum), scale_by_rate(lr, groups))


def descent(
    direction: optax.GradientTransformation,
    lr: Schedule,
    weight_decay: Schedule,
    groups: Groups = (),
    no_decay: str = NO_DECAY,
) -> optax.GradientTransformation:
    """`w -= lr (u + wd w)` along the `direction` u of any optimiser, with our decay, rates and rules by path.

    Each layer of a stack is a parameter of its own to it, and a frozen one starts at its thaw.
    """
    seen_apart = from_thaw(by_layer(direction), groups)
    return optax.chain(seen_apart, decay_and_scale(lr, weight_decay, groups, no_decay))


def lion(
    lr: Schedule,
    weight_decay: Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.99,
    groups: Groups = (),
    no_decay: str = NO_DECAY,
) -> optax.GradientTransformation:
    """Lion (Chen et al. 2023, arXiv 2302.06675): the sign of a momentum. Its rate is 3 to 10 times below AdamW's (section 5)."""
    return descent(optax.scale_by_lion(b1, b2), lr, weight_decay, groups, no_decay)


def adafactor(
    lr: Schedule,
    weight_decay: Schedule,
    *,
    decay_rate: float = 0.8,
    clipping_threshold: float = 1.0,
    min_dim_size_to_factor: int = 128,
    multiply_by_parameter_scale: bool = True,
    groups: Groups = (),
    no_decay: str = NO_DECAY,
) -> optax.GradientTransformation:
    """Adafactor without momentum (Shazeer & Stern 2018, arXiv 1804.04235); the rate is relative to the parameter's size."""
    own = direction(
        optax.adafactor, "adafactor", decay_rate=decay_rate, clipping_threshold=clipping_threshold,
        min_dim_size_to_factor=min_dim_size_to_factor, multiply_by_parameter_scale=multiply_by_parameter_scale,
    )  # fmt: skip
    return descent(own, lr, weight_decay, groups, no_decay)


def muon(
    lr: Schedule,
    weight_decay: Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.95,
    eps: float = 1e-8,
    beta: float = 0.95,
    ns_steps: int = 5,
    consistent_rms: float | None = 0.2,
    groups: Groups = (),
    no_decay: str = NO_DECAY,
) -> optax.GradientTransformation:
    """Muon (momentum `beta`) for the matrices of transformer stacks, AdamW (`b1`, `b2`, `eps`) for all else; see `muon.py`.

    Updates of matrices have the root mean square `consistent_rms`, that of AdamW, so that both share `lr` and `weight_decay`
    (Liu et al. 2025, arXiv 2502.16982). None scales as Jordan's code, whose AdamW has a rate of its own: a group's `lr_scale`.
    """
    own = orthogonal_or_adam(b1, b2, eps, beta, ns_steps, consistent_rms)
    return optax.chain(from_thaw(own, groups), decay_and_scale(lr, weight_decay, groups, no_decay))


# Where a recipe's section has a number under the same name, its default is the one here.
OPTIMIZERS: Mapping[str, Callable[..., optax.GradientTransformation]] = {
    "adamw": partial(adamw, b2=0.95),
    "sgd": sgd,
    "lars": lars,
    "lars_simclr": lars_simclr,
    "larc": larc,
    "lion": lion,
    "adafactor": adafactor,
    "muon": muon,
    "adamw_uncorrected": partial(adamw_uncorrected, b2=0.95, eps=1e-8),
}
# optax's `muon` alone would take every matrix and no stack.
OF_OPTAX = {**OPTAX_OPTIMIZERS, "optax.contrib:muon": muon}


def from_recipe(
    section: Any,
    schedule: Any,
    peak: float,
    total: int,
    warmup: int,
    groups: Groups = (),
    encoders: Sequence[str] = ("encoder",),
    allow: Iterable[str] = (),
    origin: int = 0,
) -> tuple[optax.GradientTransformation, Schedule]:
    """The optimiser and learning-rate schedule of a recipe's `optimizer` and `schedule` sections.

    `peak` is the learning rate after batch-size scaling; `total`, `warmup` and the durations of `groups` (the recipe's
    `parameter_groups`, which stand for those of the section) are in steps. `encoders` are the names of the encoders in the
    parameters, `allow` the packages besides ours and optax that a name may come from. In the optimiser, rates, decay and rules
    count from the update `origin` on; the schedule that is returned counts from 0. Numbers of a section that what it
    names does not take (`b1` of AdamW under SGD) are not passed on.
    """
    lr = ahead(schedule.count_from, warmup, schedule_of(schedule, peak, total, warmup, allow))
    end = section.weight_decay if section.weight_decay_final is None else section.weight_decay_final
    groups = [(pattern, _later(_with_rate(rule, peak), origin)) for pattern, rule in groups]
    decay = cosine(section.weight_decay, end, total)
    optimizer = _optimizer(section, since(origin, lr), since(origin, decay), groups, allow)
    optimizer = with_groups(optimizer, groups)
    if section.layer_decay is not None:
        optimizer = optax.chain(optimizer, scale_by_layer(section.layer_decay, encoders))
    if section.clip is not None:  # before freezing: a frozen layer counts in the norm of its module (DINOv2)
        optimizer = optax.chain(clip_norm(section.clip, section.clip_by), optimizer)
    return optimizer, lr


def check(section: Any, schedule: Any, allow: Iterable[str] = ()) -> None:
    """UserError for a name or an option of the recipe's sections that does not exist, before anything is made."""
    from_recipe(section, schedule, section.lr, 100, 10, allow=allow)


def schedule_of(section: Any, peak: float, total: int, warmup: int, allow: Iterable[str] = ()) -> Schedule:
    """The learning rate of a recipe's `schedule` section. Ours and those like them take `peak`; the others what optax names."""
    make = chosen(section.name, "schedule.name", SCHEDULES, OPTAX_SCHEDULES, allow)
    own = options(section, make, "schedule", SCHEDULE_NUMBERS)
    final, start = section.final * peak, section.start * peak
    numbers = {"peak": peak, "total": total, "warmup": warmup, "final": final, "start": start}
    if "peak" not in parameters(make):
        return schedule_after_warmup(make, section.name, **numbers, **own)
    return made(make, "schedule.name", section.name, **_taken(make, numbers), **own)


def _optimizer(
    section: Any, lr: Schedule, weight_decay: Schedule, groups: Groups, allow: Iterable[str]
) -> optax.GradientTransformation:
    """Ours and those like them take `lr`; of the others, the direction is taken."""
    make = chosen(section.name, "optimizer.name", OPTIMIZERS, OF_OPTAX, allow)
    own = options(section, make, "optimizer", OPTIMIZER_NUMBERS)
    rules: dict[str, Any] = {"groups": groups} | ({} if section.no_decay is None else {"no_decay": section.no_decay})
    numbers = {"lr": lr, "weight_decay": weight_decay} | rules
    if "lr" not in parameters(make):
        return descent(direction(make, section.name, **own), **numbers)
    return made(make, "optimizer.name", section.name, **_taken(make, numbers), **own)


def _taken(make: Callable, numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in numbers.items() if name in parameters(make)}


def _later(rule: Mapping[str, Any], origin: int) -> dict[str, Any]:
    """A rule whose durations, where it has any, begin at the update `origin`."""
    return {k: v + origin if v and k in ("freeze_until", "zero_lr_until") else v for k, v in rule.items()}


def _with_rate(rule: Mapping[str, Any], peak: float) -> dict[str, Any]:
    """A recipe's rule in numbers: `constant` is the peak learning rate throughout (SimSiam's predictor)."""
    return {k: v for k, v in rule.items() if k != "constant"} | ({"lr": peak} if rule.get("constant") else {})
