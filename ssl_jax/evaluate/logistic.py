"""Multinomial logistic regression, many fits in one pass: every lane is one penalty on one set of rows.

Each lane minimises `mean CE + 0.5 / (C n) ||W||^2` over its n rows, bias free: scikit-learn's convention, in which `C`
weighs the sum of the losses.

A lane is done when its gradient is small beside its loss. A bound on the gradient alone stops too early where classes are
separable and the penalty weak: loss and curvature go to 0 there, and logits that are wrong by 1 to 5 have a gradient of 1e-3. For
the same reason the loss of a row is computed from its margins, `log(1 + sum exp(l_k - l_y))`: as a difference of two numbers
near 20 it would be noise in float32 once it is below 1e-5, and the line search would find no way down.

Two things make a grid of penalties cheap. The features are written in their principal axes and each axis is scaled by
`(c e + 1/(C n))^-1/2`, `e` its variance: a fixed bound on the Hessian (Bohning 1992), so that L-BFGS starts nearly
conditioned whatever the penalty and spectrum; with fewer rows than features the axes are also fewer, at no loss. And all
lanes advance in lockstep with one evaluation an iteration: a nested line search under `vmap` makes every lane wait for the
longest search of any, at tens of evaluations an iteration.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.linalg import eigh
from threadpoolctl import threadpool_limits

_HIGHEST = jax.lax.Precision.HIGHEST  # accelerators would round features to bfloat16 or TF32
_CURVATURE = (
    0.3  # c above: between the bound's 1/2 and the 1/K of uniform predictions; fewest iterations of .03, .1, .3
)
_NEVER = -1e30  # the margin of a label to itself, which is not counted
_MEMORY = 10  # pairs that L-BFGS remembers
_AXES = 4096  # with more features and rows than this, principal axes cost more than they save
_FLOATS = 2**27  # numbers that the lanes of one pass may hold: half a GB in float32


class Fits(NamedTuple):
    """Solutions of L lanes: `kernel` [L, F, K], `bias` [L, K]; `iterations` [L] and the scaled `gradient` norm [L]."""

    kernel: np.ndarray
    bias: np.ndarray
    iterations: np.ndarray
    gradient: np.ndarray

    def logits(self, x: np.ndarray) -> np.ndarray:
        """[L, N, K] for features [N, F]."""
        return np.stack([x @ k + b for k, b in zip(self.kernel, self.bias, strict=True)])


class Problem(NamedTuple):
    """Labelled features made ready: `z` [N, R + 1] in principal axes with a constant last, `own` bool [N, K] marks the label.

    `rotation` [F, R] leads back (None: the axes are the features), `variance` [R] is the mean square along each axis.
    """

    z: Array
    own: Array
    rotation: np.ndarray | None
    variance: np.ndarray


def problem(x: np.ndarray, y: np.ndarray, classes: int) -> Problem:
    """Features `x` [N, F] (float32, or float64 under `jax.enable_x64`) and labels `y` [N] in [0, classes)."""
    rotation, variance = _principal_axes(x)
    z = np.concatenate([x if rotation is None else x @ rotation, np.ones_like(x[:, :1])], axis=1)
    return Problem(jnp.asarray(z), jnp.asarray(y[:, None] == np.arange(classes)), rotation, variance)


def fits(
    ready: Problem,
    strengths: Sequence[float] | np.ndarray,
    rows: np.ndarray | None = None,
    tolerance: float | None = None,
    iterations: int = 2000,
) -> Fits:
    """Fit every lane.

    Args:
      ready: what to fit, from `problem`.
      strengths: `C` of each lane [L], larger is weaker regularisation.
      rows: bool [L, N], the rows that each lane fits; by default all.
      tolerance: a lane is done when its gradient norm in the scaled axes is below this times its loss. By default the square
        root of the type's precision, 3e-4 in float32 and 1.5e-8 in float64: probabilities within 1e-4 and 1e-8 of the minimum's.
      iterations: at most so many.
    """
    z, own, rotation, variance = ready
    tolerance = float(np.sqrt(np.finfo(z.dtype).eps)) if tolerance is None else tolerance
    (n, axes), classes = z.shape, own.shape[1]
    rows = np.ones((len(strengths), n), bool) if rows is None else np.asarray(rows)
    count = rows.sum(1)
    penalty = 1.0 / (np.asarray(strengths, np.float64) * count)
    # The last row of a kernel is the bias: mean square 1, no penalty.
    ridge = np.concatenate([np.repeat(penalty[:, None], axes - 1, 1), np.zeros((len(penalty), 1))], 1)
    scale = 1.0 / np.sqrt(_CURVATURE * np.append(variance, 1.0) + ridge)
    lanes = [jnp.asarray(a, z.dtype) for a in (rows / count[:, None], ridge, scale)]

    at_once = max(1, _FLOATS // ((4 * n + 2 * _MEMORY * axes) * classes))
    parts = [
        _minimise(z, own, *(a[i : i + at_once] for a in lanes), tolerance, iterations)
        for i in range(0, len(penalty), at_once)
    ]
    weights, done_at, gradient = (np.concatenate([np.asarray(p[i]) for p in parts]) for i in range(3))
    kernel = weights[:, :-1] if rotation is None else np.matmul(rotation.astype(weights.dtype), weights[:, :-1])
    return Fits(kernel, weights[:, -1], done_at, gradient)


def _principal_axes(x: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Orthonormal columns [F, min(N, F)] that span the rows of `x`, and the mean square of `x` along each.

    The minimiser lies in the span of the rows, so nothing is lost with N < F. None (the axes of `x` itself) where both
    are too large.
    """
    n, f = x.shape
    if min(n, f) > _AXES:
        return None, np.square(x).mean(axis=0, dtype=np.float64)
    if n >= f:
        # A square rotation is exact whatever its error in the small axes: float32 is enough to scale by.
        variance, axes = _eigh(x.T @ x / n)
        return axes, np.maximum(variance, 0)
    wide = x.astype(np.float64)
    variance, left = _eigh(wide @ wide.T / n)
    present = variance > 1e-12 * variance[-1]
    variance = np.where(present, variance, 0)
    inverse = np.where(present, 1 / np.sqrt(np.where(present, variance, 1) * n), 0)
    return (wide.T @ (left * inverse)).astype(x.dtype), variance


def _eigh(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # The threads of BLAS spin while they wait for each other: on a busy machine 2 of them took 10 times as long as 1.
    # The same routine of LAPACK took half as long from here as from numpy.
    with threadpool_limits(1, user_api="blas"):
        return eigh(matrix, driver="evd", check_finite=False)


class _Search(NamedTuple):
    """State of L lanes of L-BFGS; `u` are the weights in scaled axes [L, R, K], `s`, `y` the memory [M, L, R, K]."""

    u: Array
    value: Array
    gradient: Array
    direction: Array
    step: Array
    s: Array
    y: Array
    rho: Array
    gamma: Array
    done: Array
    iterations: Array
    clock: Array


@jax.jit
def _minimise(
    z: Array, own: Array, rows: Array, ridge: Array, scale: Array, tolerance: float, iterations: int
) -> tuple[Array, Array, Array]:
    """Weights [L, R, K] that minimise every lane, iterations [L] and gradient norms [L] there.

    `z` [N, R], `own` bool [N, K] marks the label, `rows` [L, N] sum to 1 in each lane, `ridge` and `scale` [L, R].
    """

    def losses(u: Array) -> tuple[Array, Array]:
        w = scale[..., None] * u
        logits = jnp.einsum("nr,lrk->lnk", z, w, precision=_HIGHEST)
        # A selection, not a product with one-hot rows: jaxlib 0.10.2 returns wrong numbers on CPU for a batched dot of
        # more than 32768 outputs that is fused with another reduction (jax issue 39103).
        margins = jnp.where(own, _NEVER, logits - jnp.sum(jnp.where(own, logits, 0), -1, keepdims=True))
        entropy = jax.nn.softplus(jax.nn.logsumexp(margins, -1))
        value = jnp.sum(rows * entropy, -1) + 0.5 * jnp.sum(ridge[..., None] * w * w, (1, 2))
        return jnp.sum(value), value  # the lanes are independent: the gradient of the sum is each lane's own

    evaluate = jax.value_and_grad(losses, has_aux=True)
    noise = 8 * jnp.finfo(z.dtype).eps  # rounding of the loss must not look like an increase

    def body(at: _Search) -> _Search:
        trial = at.u - _each(at.step) * at.direction
        (_, value), gradient = evaluate(trial)
        enough = at.value - 1e-4 * at.step * _dot(at.gradient, at.direction) + noise * jnp.abs(at.value)
        accept = (value <= enough) & ~at.done
        keep = partial(_where, accept)

        s, y = keep(trial - at.u, 0.0), keep(gradient - at.gradient, 0.0)
        curvature = _dot(s, y)
        useful = curvature > 0  # a pair that is not is stored with rho 0, which leaves it out
        slot = at.clock % _MEMORY
        memory = (at.s.at[slot].set(s), at.y.at[slot].set(y))
        rho = at.rho.at[slot].set(jnp.where(useful, 1 / jnp.where(useful, curvature, 1), 0))
        gamma = jnp.where(useful, curvature / jnp.where(useful, _dot(y, y), 1), at.gamma)

        gradient = keep(gradient, at.gradient)
        step = jnp.where(accept, 1.0, at.step / 2)
        return _Search(
            keep(trial, at.u), keep(value, at.value), gradient,
            keep(_quasi_newton(gradient, *memory, rho, gamma, slot), at.direction),
            step, *memory, rho, gamma,
            at.done | (jnp.sqrt(_dot(gradient, gradient)) < tolerance * keep(value, at.value)) | (step < 1e-5),
            at.iterations + ~at.done, at.clock + 1,
        )  # fmt: skip

    lanes = rows.shape[0]
    u = jnp.zeros((lanes, z.shape[1], own.shape[1]), z.dtype)
    one, memory = jnp.ones(lanes, z.dtype), jnp.zeros((_MEMORY, *u.shape), z.dtype)
    # The first evaluation is that of the starting point: no step, accepted since any loss is below infinity.
    start = _Search(
        u, one * jnp.inf, u, u, one, memory, memory, jnp.zeros((_MEMORY, lanes), z.dtype), one,
        one < 0, jnp.zeros(lanes, jnp.int32), jnp.zeros((), jnp.int32),
    )  # fmt: skip
    end = jax.lax.while_loop(lambda at: ~jnp.all(at.done) & (at.clock < iterations), body, start)
    return scale[..., None] * end.u, end.iterations, jnp.sqrt(_dot(end.gradient, end.gradient))


def _quasi_newton(gradient: Array, s: Array, y: Array, rho: Array, gamma: Array, newest: Array) -> Array:
    """The inverse Hessian estimate times the gradient: the two-loop recursion of Nocedal (1980)."""

    def backward(i: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        q, alphas = carry
        j = (newest - i) % _MEMORY
        alpha = rho[j] * _dot(s[j], q)
        return q - _each(alpha) * y[j], alphas.at[j].set(alpha)

    def forward(i: int, r: Array) -> Array:
        j = (newest + 1 + i) % _MEMORY
        return r + _each(alphas[j] - rho[j] * _dot(y[j], r)) * s[j]

    q, alphas = jax.lax.fori_loop(0, _MEMORY, backward, (gradient, jnp.zeros_like(rho)))
    return jax.lax.fori_loop(0, _MEMORY, forward, _each(gamma) * q)


def _dot(a: Array, b: Array) -> Array:
    return jnp.sum(a * b, (1, 2))


def _each(lane: Array) -> Array:
    return lane[:, None, None]


def _where(lane: Array, a: Array, b: Array | float) -> Array:
    return jnp.where(lane if jnp.ndim(a) == 1 else _each(lane), a, b)
