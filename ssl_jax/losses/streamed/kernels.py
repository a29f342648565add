"""What the engine sums over tiles. Each kernel is one family of losses; the matched pairs are added by the loss itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.losses.contrastive import twins
from ssl_jax.losses.prototypes import EXCLUDED
from ssl_jax.losses.streamed.tiles import Parts, Side, logits


def logsumexp(s: Array, axis: int) -> Array:
    """As `jax.nn.logsumexp`, of finite numbers."""
    largest = s.max(axis=axis, keepdims=True)
    return jnp.log(jnp.exp(s - largest).sum(axis=axis)) + largest.squeeze(axis)


def where_kept(keep: bool, value: Any) -> Any:
    """`value`, or None where it is not kept."""
    return value if keep else None


@dataclass(frozen=True)
class Softmax:
    """Log-sums of exponentials of every row and/or every column: the denominators of a contrastive loss.

    Total: their sum. Slope: `exp(s - row) + exp(s - col)`, the softmax along rows plus that along columns.
    """

    rows: bool = True
    cols: bool = False

    def parts(self, s: Array, rows: Side, cols: Side) -> tuple[Parts, Parts]:
        """Log-sums of one tile."""
        return logsumexp(s, 1) if self.rows else None, logsumexp(s, 0) if self.cols else None

    def merge(self, a: Parts, b: Parts) -> Parts:
        """`log(exp a + exp b)`."""
        return jax.tree.map(jnp.logaddexp, a, b)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> tuple[Parts, Parts]:
        """The log of (almost) 0."""
        nothing = jnp.full(shape, EXCLUDED, dtype)
        return where_kept(self.rows, nothing), where_kept(self.cols, nothing)

    def total(self, row_parts: Parts, col_parts: Parts, rows: Side) -> Array:
        """The sum over rows and columns, a scalar."""
        return sum(p.sum() for p in (row_parts, col_parts) if p is not None)

    def slope(self, s: Array, rows: Side, cols: Side, row_end: Parts, col_end: Parts) -> Array:
        """Row softmax plus column softmax [r, c]."""
        by_row = [] if row_end is None else [jnp.exp(s - row_end[:, None])]
        by_col = [] if col_end is None else [jnp.exp(s - col_end)]
        return reduce(jnp.add, by_row + by_col)


class Texts(NamedTuple):
    """Of each row, or of each column: the number `query` of the query that it is, or belongs to; `same`, by which texts are told
    to be the same; `hard`, 1 for a hard negative. All int [n]."""

    query: Array
    same: Array
    hard: Array


@dataclass(frozen=True)
class Passages(Softmax):
    """`Softmax` of queries against passages, whose targets are `Texts`.

    The logit of a query's own hard negatives gets `hard_weight`. The own passage of another query that is the same does not
    count.
    """

    hard_weight: float = 0.0

    def parts(self, s: Array, rows: Side, cols: Side) -> tuple[Parts, Parts]:
        """Log-sums of one tile."""
        return super().parts(self._counted(s, rows.target, cols.target), rows, cols)

    def slope(self, s: Array, rows: Side, cols: Side, row_end: Parts, col_end: Parts) -> Array:
        """Row softmax [r, c]; 0 for what does not count."""
        return super().slope(self._counted(s, rows.target, cols.target), rows, cols, row_end, col_end)

    def _counted(self, s: Array, rows: Texts, cols: Texts) -> Array:
        own, hard = rows.query[:, None] == cols.query, cols.hard > 0
        twins = (rows.same[:, None] == cols.same) & ~own & ~hard
        return jnp.where(twins, EXCLUDED, s + self.hard_weight * (own & hard))


@dataclass(frozen=True)
class Sigmoid:
    """`sum_ij softplus(s_ij)`: every pair as a negative. Slope: `sigmoid(s)`."""

    def parts(self, s: Array, rows: Side, cols: Side) -> tuple[Parts, Parts]:
        """Sums over the columns of one tile."""
        return jax.nn.softplus(s).sum(axis=1), None

    def merge(self, a: Parts, b: Parts) -> Parts:
        """Added."""
        return jax.tree.map(jnp.add, a, b)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> tuple[Parts, Parts]:
        """Zeros."""
        return jnp.zeros(shape, dtype), None

    def total(self, row_parts: Parts, col_parts: Parts, rows: Side) -> Array:
        """The sum over all pairs, a scalar."""
        return row_parts.sum()

    def slope(self, s: Array, rows: Side, cols: Side, row_end: Parts, col_end: Parts) -> Array:
        """`sigmoid(s)`."""
        return jax.nn.sigmoid(s)


class Row(NamedTuple):
    """The `number` int [n] of each row, or of the column that belongs to it, and its contents `same` int [n, K, W] (`twins`)."""

    number: Array
    same: Array


@dataclass(frozen=True)
class Distinct:
    """A kernel of pairs, whose targets are `Row`s: what has a content in common, but is no pair, does not count."""

    pairs: Softmax | Sigmoid

    def parts(self, s: Array, rows: Side, cols: Side) -> tuple[Parts, Parts]:
        """Those of one tile."""
        return self.pairs.parts(self._counted(s, rows.target, cols.target), rows, cols)

    def merge(self, a: Parts, b: Parts) -> Parts:
        """As the pairs' kernel."""
        return self.pairs.merge(a, b)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> tuple[Parts, Parts]:
        """Nothing seen."""
        return self.pairs.empty(shape, dtype)

    def total(self, row_parts: Parts, col_parts: Parts, rows: Side) -> Array:
        """A scalar."""
        return self.pairs.total(row_parts, col_parts, rows)

    def slope(self, s: Array, rows: Side, cols: Side, row_end: Parts, col_end: Parts) -> Array:
        """[r, c]; 0 for what does not count."""
        return self.pairs.slope(self._counted(s, rows.target, cols.target), rows, cols, row_end, col_end)

    def _counted(self, s: Array, rows: Row, cols: Row) -> Array:
        other = rows.number[:, None] != cols.number
        return jnp.where(other & twins(rows.same, cols.same), EXCLUDED, s)


@dataclass(frozen=True)
class CrossEntropy:
    """`sum_i weight_i (log sum_k exp s_ik - sum_k q_ik s_ik)`: targets q are made tile by tile, like the logits.

    Slope: `weight_i (softmax(s)_ik - q_ik)`.
    """

    def targets(self, rows: Side, cols: Side) -> Array:
        """q [r, c] of one tile: from labels, or the exponential of a second matrix of logits."""
        if isinstance(rows.target, Side):
            return jnp.exp(logits(rows.target, cols.target))
        return (rows.target[:, None] == cols.target) & (rows.target[:, None] >= 0)

    def parts(self, s: Array, rows: Side, cols: Side) -> tuple[Parts, Parts]:
        """Log-sum and expected logit of each row in one tile."""
        return (logsumexp(s, 1), (self.targets(rows, cols) * s).sum(axis=1)), None

    def merge(self, a: Parts, b: Parts) -> Parts:
        """Log-sums by `logaddexp`, expectations added."""
        return a and (jnp.logaddexp(a[0], b[0]), a[1] + b[1])

    def empty(self, shape: tuple[int, ...], dtype: Any) -> tuple[Parts, Parts]:
        """Nothing seen."""
        return (jnp.full(shape, EXCLUDED, dtype), jnp.zeros(shape, dtype)), None

    def total(self, row_parts: Parts, col_parts: Parts, rows: Side) -> Array:
        """The weighted sum over rows, a scalar."""
        loss = row_parts[0] - row_parts[1]
        return loss.sum() if rows.weight is None else (loss * rows.weight).sum()

    def slope(self, s: Array, rows: Side, cols: Side, row_end: Parts, col_end: Parts) -> Array:
        """Softmax minus targets, weighted [r, c]."""
        slope = jnp.exp(s - row_end[0][:, None]) - self.targets(rows, cols)
        return slope if rows.weight is None else slope * rows.weight[:, None]


@dataclass(frozen=True)
class ToldClasses(CrossEntropy):
    """`CrossEntropy` that also finds the column of each row's largest logit, the first of several.

    With `z` > 0, `z` times the square of the log-sum is added to each row (PaLM, arXiv 2204.02311, section 5). Slope:
    `weight_i (softmax(s)_ik (1 + 2 z log sum_i) - q_ik)`.
    """

    z: float = 0.0

    def parts(self, s: Array, rows: Side, cols: Side) -> tuple[Parts, Parts]:
        """Log-sum, expected logit, largest logit and its column, of each row in one tile."""
        (log_sum, expected), _ = super().parts(s, rows, cols)
        return (log_sum, expected, s.max(axis=1), cols.target[s.argmax(axis=1)]), None

    def merge(self, a: Parts, b: Parts) -> Parts:
        """As `CrossEntropy`, and the larger logit; of equal ones the first column."""
        if a is None:
            return None
        later = (b[2] > a[2]) | ((b[2] == a[2]) & (b[3] < a[3]))
        best = tuple(jnp.where(later, y, x) for x, y in zip(a[2:], b[2:], strict=True))
        return *super().merge(a[:2], b[:2]), *best

    def empty(self, shape: tuple[int, ...], dtype: Any) -> tuple[Parts, Parts]:
        """Nothing seen."""
        nothing, _ = super().empty(shape, dtype)
        return (*nothing, jnp.full(shape, EXCLUDED, dtype), jnp.zeros(shape, jnp.int32)), None

    def total(self, row_parts: Parts, col_parts: Parts, rows: Side) -> Array:
        """The weighted sum over rows, a scalar."""
        loss = row_parts[0] - row_parts[1] + self.z * row_parts[0] ** 2
        return loss.sum() if rows.weight is None else (loss * rows.weight).sum()

    def slope(self, s: Array, rows: Side, cols: Side, row_end: Parts, col_end: Parts) -> Array:
        """As `CrossEntropy`, with the share of the square."""
        log_sum = row_end[0][:, None]
        slope = jnp.exp(s - log_sum) * (1 + 2 * self.z * log_sum) - self.targets(rows, cols)
        return slope if rows.weight is None else slope * rows.weight[:, None]
