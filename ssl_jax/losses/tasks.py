"""What labels can be: one of K classes, several of K, numbers, a class for each token, or a text of K symbols.

A task is three functions: labels -> `targets`, (logits, targets) -> `loss`, and (logits, labels) -> `measures` for people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.losses.transcription import ctc, error_rates


class Task(NamedTuple):
    """A known kind of labels. `name` is that of its loss; `counted` labels lie in [0, K)."""

    targets: Callable[[Array, int], Array]
    loss: Callable[[Array, Array], Mean]
    measures: Callable[[Array, Array], dict[str, Mean]]
    name: str
    counted: bool = True


def one_hot(labels: Array, classes: int) -> Array:
    """Labels [...] in [0, K) -> [..., K]; zeros for -1, which stands for none."""
    return jax.nn.one_hot(labels, classes)


def smoothed(targets: Array, rate: float) -> Array:
    """`(1 - rate) t + rate / K` where there is a target (Szegedy et al. 2015, arXiv 1512.00567, section 7)."""
    there = targets.sum(-1, keepdims=True)
    return (1 - rate) * targets + rate * there / targets.shape[-1]


def soft_cross_entropy(logits: Array, targets: Array) -> Mean:
    """`-sum_k t_k log softmax(logits)_k` of [..., K], averaged over rows that have a target."""
    log_probabilities = jax.nn.log_softmax(logits.astype(wide(logits.dtype)))
    counted = (targets.sum(-1) > 0).astype(log_probabilities.dtype)
    return mean_of(-(targets * log_probabilities).sum(-1), counted)


def sigmoid_cross_entropy(logits: Array, targets: Array) -> Mean:
    """Binary cross-entropy of [..., K], averaged over all of them."""
    logits = logits.astype(wide(logits.dtype))
    return mean_of(jax.nn.softplus(logits) - targets * logits)


def squared_error(outputs: Array, targets: Array) -> Mean:
    """`(y - t)^2` of [..., K], averaged over all of them."""
    return mean_of(jnp.square(outputs.astype(wide(outputs.dtype)) - targets))


def accuracy(logits: Array, labels: Array) -> dict[str, Mean]:
    """How often the largest of logits [..., K] is at the label [...]; rows of label -1 do not count."""
    kind = wide(logits.dtype)
    return {"accuracy": mean_of((logits.argmax(-1) == labels).astype(kind), (labels >= 0).astype(kind))}


def accuracy_of_each(logits: Array, labels: Array) -> dict[str, Mean]:
    """How often a logit [..., K] is on the right side of zero, and how often all of a row are."""
    right = (logits > 0) == (labels > 0.5)
    kind = wide(logits.dtype)
    return {"accuracy": mean_of(right.astype(kind)), "accuracy_of_all": mean_of(right.all(-1).astype(kind))}


def _numbers(labels: Array, classes: int) -> Array:
    return labels.reshape(*labels.shape[:1], classes).astype(jnp.float32)


TASKS: Mapping[str, Task] = {
    "class": Task(one_hot, soft_cross_entropy, accuracy, "cross_entropy"),
    "classes": Task(_numbers, sigmoid_cross_entropy, accuracy_of_each, "cross_entropy", False),
    "numbers": Task(
        _numbers,
        squared_error,
        lambda outputs, labels: {"error": squared_error(outputs, _numbers(labels, outputs.shape[-1]))},
        "squared_error",
        False,
    ),
    "tokens": Task(one_hot, soft_cross_entropy, accuracy, "cross_entropy"),
    "text": Task(lambda labels, classes: labels, ctc, error_rates, "ctc"),
}
