"""Heads that are learnt by gradient on frozen features, hundreds in one pass: every lane is one learning rate and decay.

Lanes see the same batches and start from the same weights, so a lane is what it would be alone. They lie along the last axis
of every array: the kernels of 256 linear heads are one matrix [F, K * 256], sums over classes run across lanes side by side,
and a rate for each lane is an array that an optimiser multiplies with. Under `vmap`, which moves lanes to the front wherever
two of its arrays meet, a step of 256 linear heads took twice the CPU time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

_FLOATS = 2**28  # numbers that the lanes of one pass may hold: 1 GB in float32
Rule = Callable[[Any, Any], optax.GradientTransformation]  # of a learning rate and a weight decay


class Head(Protocol):
    """What is learnt: a frozen dataclass of numbers, so that two of the same shape are compiled once."""

    def init(self, key: Array) -> Any:
        """Parameters of one lane."""
        ...

    def apply(self, params: Any, x: Array) -> Array:
        """Outputs [B, K, L] of features [B, ...] and parameters [..., L]."""
        ...


class Task(NamedTuple):
    """What heads are learnt for: `loss` and `score` [B] [B, L] of outputs [B, K, L] and targets; a score is larger for better."""

    loss: Callable[[Array, Array], Array]
    score: Callable[[Array, Array], Array]


class Rows(Protocol):
    """Features by row: an array [N, ...], in memory or mapped, or several `Beside` each other."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Beside:
    """Arrays [N, F_i] side by side as one of [N, sum F_i], joined for the rows that are looked at."""

    parts: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return np.concatenate([part[rows] for part in self.parts], axis=-1)


@dataclass(frozen=True, eq=False)
class Prepared:
    """Rows after `change`, for the rows that are looked at."""

    rows: Rows
    change: Callable[[np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.change(self.rows[rows])


@dataclass(frozen=True)
class Training:
    """How: `epochs` over the rows in batches of `batch_size`, rates times `batch_size / 256` after a linear warm-up, then along a
    cosine to 0. `rule` makes the optimiser of a lane.
    """

    rule: Rule
    epochs: int = 10
    batch_size: int = 1024
    warmup_epochs: int = 0
    seed: int = 0


class Lanes(NamedTuple):
    """Learning rate and weight decay of each lane, [L] each."""

    rate: np.ndarray
    decay: np.ndarray


def grid(rates: Sequence[float], decays: Sequence[float]) -> Lanes:
    """A lane for each pair."""
    return Lanes(*np.array(list(product(rates, decays)), np.float32).T)


def fit(head: Head, task: Task, x: Rows, targets: np.ndarray, lanes: Lanes, training: Training) -> Any:
    """Parameters of all lanes, with a last axis [L], learnt from rows `x` [N, ...] and `targets` [N, ...].

    A batch and the lanes are all that is held in memory. The rows that are over in an epoch wait for the next.
    """
    size = min(training.batch_size, len(x))
    steps = training.epochs * (len(x) // size)
    warm = training.warmup_epochs * (len(x) // size)
    schedule = optax.warmup_cosine_decay_schedule(0.0 if warm else 1.0, 1.0, warm, max(steps, warm + 1))
    scales = np.asarray(schedule(np.arange(steps))) * size / 256
    params = jax.tree.map(
        lambda a: jnp.repeat(a[..., None], len(lanes.rate), -1), head.init(jax.random.key(training.seed))
    )
    state = training.rule(*lanes).init(params)
    for rows, scale in zip(_batches(len(x), size, training), scales, strict=True):
        params, state = _step(head, task, training.rule, params, state, x[rows], targets[rows], *lanes, scale)
    return params


def scores(
    head: Head, task: Task, params: Any, x: Rows, targets: np.ndarray, batch_size: int = 1024
) -> tuple[np.ndarray, np.ndarray]:
    """Mean score and mean loss of every lane, [L] each; not a number where a lane diverged."""
    parts = [_measured(head, task, params, x[rows], targets[rows]) for rows in _in_order(len(x), batch_size)]
    score, loss = (sum(np.asarray(part[i], np.float64) for part in parts) / len(x) for i in range(2))
    return score, loss


def outputs(head: Head, params: Any, x: Rows, batch_size: int = 1024) -> np.ndarray:
    """Outputs [N, K] of the only lane of `params`."""
    return np.concatenate([np.asarray(_outputs(head, params, x[rows])) for rows in _in_order(len(x), batch_size)])


def lanes_at_once(head: Head, x: Rows, outputs: int, batch_size: int) -> int:
    """How many lanes fit into a gigabyte, with gradients and moments."""
    shapes = jax.eval_shape(head.init, jax.random.key(0))
    numbers = 4 * sum(a.size for a in jax.tree.leaves(shapes)) + 3 * min(batch_size, len(x)) * outputs
    return max(1, _FLOATS // numbers)


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


def right(logits: Array, labels: Array) -> Array:
    """1 where the label is the most likely, [B, L]."""
    return jnp.asarray(logits.argmax(1) == labels[:, None], jnp.float32)


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Of a softmax over classes, [B, L]; `labels` [B]."""
    own = (labels[:, None] == jnp.arange(logits.shape[1]))[..., None]
    return jax.nn.logsumexp(logits, 1) - jnp.sum(jnp.where(own, logits, 0), 1)


def binary_cross_entropy(logits: Array, targets: Array) -> Array:
    """Of a sigmoid for each label, mean over labels, [B, L]; `targets` [B, K] are 0 or 1."""
    return optax.losses.sigmoid_binary_cross_entropy(logits, targets[..., None]).mean(1)


def squared_error(predicted: Array, targets: Array) -> Array:
    """Mean over numbers, [B, L]; `targets` [B, K]."""
    return jnp.square(predicted - targets[..., None]).mean(1)


CLASSES = Task(cross_entropy, right)
LABELS = Task(binary_cross_entropy, lambda logits, targets: -binary_cross_entropy(logits, targets))
NUMBERS = Task(squared_error, lambda predicted, targets: -squared_error(predicted, targets))


@dataclass(frozen=True)
class Linear:
    """A matrix with bias: weights N(0, `std`), bias 0 (DINOv2)."""

    width: int
    outputs: int
    std: float = 0.01

    def init(self, key: Array) -> Any:
        """`kernel` [F, K] and `bias` [K]."""
        kernel = self.std * jax.random.normal(key, (self.width, self.outputs))
        return {"kernel": kernel, "bias": jnp.zeros(self.outputs)}

    def apply(self, params: Any, x: Array) -> Array:
        """Outputs [B, K, L] of features [B, F]: one matrix product for all lanes."""
        return jnp.einsum("bf,fkl->bkl", x, params["kernel"]) + params["bias"]


@dataclass(frozen=True)
class MLP:
    """Hidden layers of these widths with ReLU, Glorot's initialisation."""

    width: int
    hidden: tuple[int, ...]
    outputs: int

    def init(self, key: Array) -> Any:
        """A kernel and a bias for each layer."""
        widths = (self.width, *self.hidden, self.outputs)
        keys = jax.random.split(key, len(widths) - 1)
        return [_glorot(key, *shape) for key, shape in zip(keys, zip(widths, widths[1:], strict=False), strict=True)]

    def apply(self, params: Any, x: Array) -> Array:
        """Outputs [B, K, L] of features [B, F]."""
        return jax.vmap(_layers, (-1, None), -1)(params, x)


@dataclass(frozen=True)
class Attentive:
    """One query that attends to all tokens, an MLP block, and a linear layer (V-JEPA, arXiv 2404.08471, appendix C).

    Fidelity: there is one query, so its product with the key matrix is one vector for each head, which is learnt itself; and
    scale and bias of the first norm are left to the matrices after it. The function is the same, at 1/`width` of the cost:
    no keys and values of all tokens are made. V-JEPA 2 has three blocks of self-attention below this one.
    """

    width: int
    heads: int
    outputs: int

    def init(self, key: Array) -> Any:
        """`query` [D], `attend` [D, H], `value` [D, H, D / H] and the kernels and biases of the other layers."""
        draw = jax.nn.initializers.truncated_normal(0.02)
        keys, d = jax.random.split(key, 6), self.width
        dense = lambda key, a, b: {"kernel": draw(key, (a, b)), "bias": jnp.zeros(b)}  # noqa: E731
        return {
            "query": draw(keys[0], (d,)),
            "attend": draw(keys[1], (d, self.heads)),
            "value": {"kernel": draw(keys[2], (d, self.heads, d // self.heads)), "bias": jnp.zeros(d)},
            "up": dense(keys[3], d, 4 * d),
            "down": dense(keys[4], 4 * d, d),
            "norm": {"scale": jnp.ones(d), "bias": jnp.zeros(d)},
            "out": dense(keys[5], d, self.outputs),
        }

    def apply(self, params: Any, x: Array) -> Array:
        """Outputs [B, K, L] of tokens [B, T, D]."""
        return jax.vmap(_attended, (-1, None), -1)(params, _layer_norm(x))


def _attended(params: Any, x: Array) -> Array:
    """Outputs [B, K] of normalised tokens [B, T, D], for one lane."""
    weights = jax.nn.softmax(jnp.einsum("btd,dh->bth", x, params["attend"]), axis=1)
    pooled = jnp.einsum("bth,btd->bhd", weights, x)
    values = jnp.einsum("bhd,dhe->bhe", pooled, params["value"]["kernel"]).reshape(len(x), -1)
    y = params["query"] + values + params["value"]["bias"]
    normal = _layer_norm(y) * params["norm"]["scale"] + params["norm"]["bias"]
    y = y + _dense(params["down"], jax.nn.gelu(_dense(params["up"], normal), approximate=False))
    return _dense(params["out"], y)


def _layers(params: Any, x: Array) -> Array:
    for layer in params[:-1]:
        x = jax.nn.relu(_dense(layer, x))
    return _dense(params[-1], x)


def _dense(layer: Any, x: Array) -> Array:
    return x @ layer["kernel"] + layer["bias"]


def _glorot(key: Array, width: int, outputs: int) -> Any:
    return {"kernel": jax.nn.initializers.glorot_uniform()(key, (width, outputs)), "bias": jnp.zeros(outputs)}


def _layer_norm(x: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-6)


def _matrices(params: Any) -> Any:
    return jax.tree.map(lambda a: a.ndim > 2, params)  # with the lanes' axis


def _batches(count: int, size: int, training: Training) -> Iterator[np.ndarray]:
    """Rows of each step; a row at most once in an epoch."""
    for epoch in range(training.epochs):
        order = np.random.default_rng((training.seed, epoch)).permutation(count)
        for start in range(0, count - size + 1, size):
            yield np.sort(order[start : start + size])  # a mapped file is read forwards


def _in_order(count: int, size: int) -> Iterator[np.ndarray]:
    return (np.arange(start, min(start + size, count)) for start in range(0, count, size))


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=(3, 4))
def _step(
    head: Head, task: Task, rule: Rule, params: Any, state: Any, x: Array, y: Array, rate: Array, decay: Array, scale: Any
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
