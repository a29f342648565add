"""Heads on frozen features, and what they are learnt for. Lanes, copies with other weights, lie along the last axis of arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax import Array


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
        return [_glorot(key, *shape) for key, shape in zip(keys, pairwise(widths), strict=True)]

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
        draw = jax.nn.initializers.normal(0.02)
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
