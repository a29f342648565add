"""Heads that are learnt by gradient on frozen features, hundreds in one pass: every lane is one learning rate and decay.

Lanes see the same batches and start from the same weights, so a lane is what it would be alone. They lie along the last axis
of every array: the kernels of 256 linear heads are one matrix [F, K * 256], sums over classes run across lanes side by side,
and a rate for each lane is an array that an optimiser multiplies with. Under `vmap`, which moves lanes to the front wherever
two of its arrays meet, a step of 256 linear heads took twice the CPU time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from ssl_jax.evaluate.batches import Rows
from ssl_jax.evaluate.heads import Head, Task

_FLOATS = 2**28  # numbers that the lanes of one pass may hold: 1 GB in float32
Rule = Callable[[Any, Any], optax.GradientTransformation]  # of a learning rate and a weight decay


@dataclass(frozen=True)
class Training:
    """How: `epochs` over the rows in batches of `batch_size`, or so many `steps`; rates times `batch_size / 256` after a linear
    warm-up, then along a cosine to 0. `rule` makes the optimiser of a lane.
    """

    rule: Rule
    epochs: int = 10
    batch_size: int = 1024
    warmup_epochs: int = 0
    seed: int = 0
    steps: int | None = None


class Lanes(NamedTuple):
    """Learning rate and weight decay of each lane, [L] each."""

    rate: np.ndarray
    decay: np.ndarray


def grid(rates: Sequence[float], decays: Sequence[float]) -> Lanes:
    """A lane for each pair."""
    return Lanes(*np.array(list(itertools.product(rates, decays)), np.float32).T)


def fit(head: Head, task: Task, x: Rows, targets: np.ndarray, lanes: Lanes, training: Training) -> Any:
    """Parameters of all lanes, with a last axis [L], learnt from rows `x` [N, ...] and `targets` [N, ...].

    A batch and the lanes are all that is held in memory. The rows that are over in an epoch wait for the next.
    """
    size = min(training.batch_size, len(x))
    steps = training.epochs * (len(x) // size) if training.steps is None else training.steps
    warm = training.warmup_epochs * (len(x) // size)
    schedule = optax.warmup_cosine_decay_schedule(0.0 if warm else 1.0, 1.0, warm, max(steps, warm + 1))
    scales = np.asarray(jax.vmap(schedule)(np.arange(steps))) * size / 256
    params, state = _start(head, training.rule, *lanes, training.seed)
    for scale, rows in zip(scales, _batches(len(x), size, training.seed), strict=False):
        params, state = _step(head, task, training.rule, params, state, x[rows], targets[rows], *lanes, scale)
    return params


def scores(
    head: Head, task: Task, params: Any, x: Rows, targets: np.ndarray, batch_size: int = 1024
) -> tuple[np.ndarray, np.ndarray]:
    """Mean score and mean loss of every lane, [L] each; not a number where a lane diverged."""
    parts = [_measured(head, task, params, x[rows], targets[rows]) for rows in _in_order(len(x), batch_size)]
    score, loss = np.sum(np.asarray(parts, np.float64), axis=0) / len(x)
    return score, loss


def outputs(head: Head, params: Any, x: Rows, batch_size: int = 1024) -> np.ndarray:
    """Outputs [N, K] of the only lane of `params`."""
    return np.concatenate([np.asarray(_outputs(head, params, x[rows])) for rows in _in_order(len(x), batch_size)])


def lanes_at_once(head: Head, x: Rows, batch_size: int) -> int:
    """How many lanes fit into a gigabyte, with gradients, moments and outputs."""
    count = min(batch_size, len(x))
    shapes = jax.eval_shape(lambda key: _all_lanes(head.init(key), 1), jax.random.key(0))
    given = jax.ShapeDtypeStruct((count, *x[np.arange(1)].shape[1:]), np.float32)
    made = jax.eval_shape(head.apply, shapes, given).size
    return max(1, _FLOATS // (4 * sum(a.size for a in jax.tree.leaves(shapes)) + 3 * made))


def sgd(rate: Any, decay: Any) -> optax.GradientTransformation:
    """Momentum 0.9, decay as a part of the gradient (PyTorch's SGD)."""
    return optax.chain(optax.add_decayed_weights(decay), optax.sgd(rate, momentum=0.9))


def lars(rate: Any, decay: Any) -> optax.GradientTransformation:
    """You et al. 2017 as MAE's linear probe has it: trust coefficient 0.001, and neither trust nor decay for biases."""
    trust = optax.scale_by_trust_ratio(trust_coefficient=1e-3)
    scaled = lambda g, p: trust.update(g, trust.init(p), p)[0]  # noqa: E731
    each = optax.stateless(lambda g, p: jax.vmap(scaled, -1, -1)(g, p))  # a norm for each lane
    return optax.chain(
        optax.add_decayed_weights(decay, _matrices), optax.masked(each, _matrices), optax.sgd(rate, momentum=0.9)
    )


def adamw(rate: Any, decay: Any) -> optax.GradientTransformation:
    """Loshchilov & Hutter 2019."""
    return optax.adamw(rate, weight_decay=decay)


RULES: dict[str, Rule] = {"sgd": sgd, "lars": lars, "adamw": adamw}


def _all_lanes(params: Any, count: int) -> Any:
    return jax.tree.map(lambda a: jnp.repeat(a[..., None], count, -1), params)


def _matrices(params: Any) -> Any:
    return jax.tree.map(lambda a: a.ndim > 2, params)  # with the lanes' axis


def _batches(count: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Rows of each step, without end; a row at most once in an epoch."""
    for epoch in itertools.count():
        order = np.random.default_rng((seed, epoch)).permutation(count)
        for start in range(0, count - size + 1, size):
            yield np.sort(order[start : start + size])  # a mapped file is read forwards


def _in_order(count: int, size: int) -> Iterator[np.ndarray]:
    return (np.arange(start, min(start + size, count)) for start in range(0, count, size))


@partial(jax.jit, static_argnums=(0, 1))
def _start(head: Head, rule: Rule, rate: Array, decay: Array, seed: int) -> tuple[Any, Any]:
    params = _all_lanes(head.init(jax.random.key(seed)), len(rate))
    return params, rule(rate, decay).init(params)


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=(3, 4))
def _step(
    head: Head,
    task: Task,
    rule: Rule,
    params: Any,
    state: Any,
    x: Array,
    y: Array,
    rate: Array,
    decay: Array,
    scale: Any,
) -> tuple[Any, Any]:
    # The lanes share nothing: the gradient of the sum of their losses is each lane's own.
    gradient = jax.grad(lambda params: task.loss(head.apply(params, x), y).mean(0).sum())(params)
    updates, state = rule(rate * scale, decay).update(gradient, state, params)
    return optax.apply_updates(params, updates), state


@partial(jax.jit, static_argnums=(0, 1))
def _measured(head: Head, task: Task, params: Any, x: Array, y: Array) -> tuple[Array, Array]:
    """Sums of score and loss, [L] each."""
    found = head.apply(params, x)
    return task.score(found, y).sum(0), task.loss(found, y).sum(0)


@partial(jax.jit, static_argnums=0)
def _outputs(head: Head, params: Any, x: Array) -> Array:
    return head.apply(params, x)[..., 0]
