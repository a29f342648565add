"""Cross-entropy over many classes, prototypes or words, without a matrix of logits or targets, one call each.

Values and gradients are those of `losses.prototypes` and `losses.vocabulary` on logits `rows @ table.T`. The table is a
parameter: method "local" keeps it whole on every device; the others split it over the batch axes.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.losses.mean import Mean
from ssl_jax.losses.prototypes import EXCLUDED, centred_softmax, prototype_cross_entropy, sinkhorn
from ssl_jax.losses.streamed.cost import choose, choose_for_words
from ssl_jax.losses.streamed.engine import ends, total, total_and_rows
from ssl_jax.losses.streamed.kernels import CrossEntropy, Softmax, ToldClasses
from ssl_jax.losses.streamed.placement import Placement
from ssl_jax.losses.streamed.rounds import Plan
from ssl_jax.losses.streamed.tiles import Side
from ssl_jax.losses.vocabulary import ToldWords, told_of
from ssl_jax.losses.vocabulary import linear_softmax_cross_entropy as plain_vocabulary
from ssl_jax.losses.vocabulary import linear_told_words as plain_told_words


def sinkhorn_prototypes(
    student: Array,
    prototypes: Array,
    teacher: Array,
    teacher_prototypes: Array,
    temperature: float | Array,
    teacher_temperature: float | Array,
    iterations: int = 3,
    weights: Array | None = None,
    method: str = "auto",
) -> Mean:
    """`prototype_cross_entropy(student @ prototypes.T, sinkhorn(teacher @ teacher_prototypes.T))` (SwAV, DINOv2).

    Of the assignments only the potentials are kept, one number per row and per prototype: `Q_ik = exp(t_ik + a_i + b_k)` is
    evaluated tile by tile where it is used.

    Args:
        student: [R, D] outputs of the head before its last layer.
        prototypes: [K, D], that last layer.
        teacher: [R, E]; no gradient.
        teacher_prototypes: [K, E]; no gradient.
        temperature: of the student, > 0.
        teacher_temperature: of the assignments, > 0.
        iterations: of Sinkhorn-Knopp, >= 1.
        weights: [R], 0 on padding, which then counts in no column sum; None counts all rows once.
        method: one of `cost.METHODS`.
    """
    place = choose(method, len(student), len(prototypes), prototypes.shape[1], copies=True)
    valid = None if weights is None else weights > 0
    if place is None:
        targets = sinkhorn(_logits(teacher, teacher_prototypes), teacher_temperature, iterations, valid)
        return prototype_cross_entropy(_logits(student, prototypes), targets, temperature, weights)
    t, w = _constant(teacher, teacher_temperature), jax.lax.stop_gradient(teacher_prototypes)
    rows, cols = sinkhorn_potentials(place, t, w, iterations, valid)
    return _soft_cross_entropy(place, student, prototypes, temperature, weights, rows, cols)


def centred_prototypes(
    student: Array,
    prototypes: Array,
    teacher: Array,
    teacher_prototypes: Array,
    centre: Array,
    temperature: float | Array,
    teacher_temperature: float | Array,
    weights: Array | None = None,
    method: str = "auto",
) -> Mean:
    """As `sinkhorn_prototypes`, with targets `softmax((t - centre) / teacher_temperature)`, `centre` [K] (DINO, iBOT)."""
    place = choose(method, len(student), len(prototypes), prototypes.shape[1], copies=True)
    if place is None:
        targets = centred_softmax(_logits(teacher, teacher_prototypes), centre, teacher_temperature)
        return prototype_cross_entropy(_logits(student, prototypes), targets, temperature, weights)
    t, w = _constant(teacher, teacher_temperature), jax.lax.stop_gradient(teacher_prototypes)
    cols = Side(w, _constant(-centre, teacher_temperature))
    row, _ = ends(Plan(Softmax(), place), Side(t), cols)
    return _soft_cross_entropy(place, student, prototypes, temperature, weights, Side(t, -row), cols)


def linear_softmax_cross_entropy(
    hidden: Array,
    table: Array,
    labels: Array,
    bias: Array | None = None,
    weights: Array | None = None,
    method: str = "auto",
) -> Mean:
    """Cross-entropy of `hidden` [R, D] with words `table` [V, D]; see `losses.vocabulary.linear_softmax_cross_entropy`."""
    place = choose_for_words(method, len(hidden), *table.shape)
    if place is None:
        return plain_vocabulary(hidden, table, labels, bias, weights)
    rows, cols = _words(hidden, table, labels, bias, weights)
    return _mean(total(Plan(CrossEntropy(), place), rows, cols), rows)


def linear_told_words(
    hidden: Array,
    table: Array,
    labels: Array,
    bias: Array | None = None,
    weights: Array | None = None,
    z: float = 0.0,
    method: str = "auto",
) -> ToldWords:
    """Cross-entropy, log-sums and first guesses in one pass; see `losses.vocabulary.linear_told_words`."""
    place = choose_for_words(method, len(hidden), *table.shape)
    if place is None:
        return plain_told_words(hidden, table, labels, bias, weights, z)
    rows, cols = _words(hidden, table, labels, bias, weights)
    loss, (log_sum, expected, _, guess) = total_and_rows(Plan(ToldClasses(z), place), rows, cols)
    return told_of(_mean(loss, rows), log_sum - expected, log_sum, guess, weights)


def sinkhorn_potentials(
    place: Placement, teacher: Array, prototypes: Array, iterations: int, valid: Array | None = None
) -> tuple[Side, Side]:
    """Potentials a [R] and b [K] with `sinkhorn = exp(teacher @ prototypes.T + a[:, None] + b)`, as offsets of two sides.

    `teacher` [R, E] is already divided by the temperature. An iteration is two passes: over the columns, then the rows.
    """
    by_column, by_row = Plan(Softmax(rows=False, cols=True), place), Plan(Softmax(), place)
    out = jnp.zeros(len(teacher), wide(teacher.dtype))

    def masked(a: Array) -> Array:
        return a if valid is None else jnp.where(valid, a, EXCLUDED)

    def iteration(a: Array, _: None) -> tuple[Array, Array]:
        _, column = ends(by_column, Side(teacher, masked(a)), Side(prototypes))
        row, _ = ends(by_row, Side(teacher), Side(prototypes, -column))
        return -row, -column

    a, b = jax.lax.scan(iteration, out, length=iterations)
    return Side(teacher, masked(a)), Side(prototypes, b[-1])


def _soft_cross_entropy(
    place: Placement,
    student: Array,
    prototypes: Array,
    temperature: float | Array,
    weights: Array | None,
    targets: Side,
    target_cols: Side,
) -> Mean:
    rows = Side(student.astype(wide(student.dtype)) / temperature, target=targets, weight=weights)
    return _mean(total(Plan(CrossEntropy(), place), rows, Side(prototypes, target=target_cols)), rows)


def _words(hidden: Array, table: Array, labels: Array, bias: Array | None, weights: Array | None) -> tuple[Side, Side]:
    columns = jnp.arange(len(table), dtype=jnp.int32)
    return Side(hidden, target=labels.astype(jnp.int32), weight=weights), Side(table, bias, target=columns)


def _mean(total: Array, rows: Side) -> Mean:
    count = jnp.asarray(len(rows.x), total.dtype) if rows.weight is None else rows.weight.sum().astype(total.dtype)
    return Mean(total, count)


def _logits(rows: Array, table: Array) -> Array:
    return jnp.einsum("rd,kd->rk", rows, table, preferred_element_type=wide(rows.dtype))


def _constant(x: Array, temperature: float | Array) -> Array:
    return jax.lax.stop_gradient(x.astype(wide(x.dtype)) / temperature)
