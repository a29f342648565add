"""Losses on the statistics of embeddings over the global batch: correlation, covariance, and how normal they are.

Nothing here is a mean over examples, so every `Mean` has weight 1. N counts the rows of the global batch.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.losses.mean import Mean


def cross_correlation(z0: Array, z1: Array, epsilon: float = 1e-5) -> Array:
    """Correlations [D, D] between the dimensions of two views z0, z1 [N, D] over the batch.

    Each dimension is standardised with its biased variance plus `epsilon` (a BatchNorm without parameters).
    """
    return _standardized(z0, epsilon).T @ _standardized(z1, epsilon) / z0.shape[0]


def barlow_twins(z0: Array, z1: Array, off_diagonal: float = 0.0051, epsilon: float = 1e-5) -> dict[str, Mean]:
    """`sum_d (C_dd - 1)^2 + lambda sum_{d != e} C_de^2` (Zbontar et al. 2021, arXiv 2103.03230, eq. 1), term by term.

    Args:
        z0: [N, D] embeddings of the first view.
        z1: [N, D] embeddings of the second view.
        off_diagonal: lambda, the weight of the redundancy term.
        epsilon: added to the variances.

    Sums, not means: about D for views that have nothing in common.
    """
    c = cross_correlation(z0, z1, epsilon)
    on = jnp.eye(c.shape[0], dtype=bool)
    return {
        "invariance": _whole(jnp.sum(jnp.where(on, jnp.square(c - 1), 0.0))),
        "redundancy": _whole(off_diagonal * jnp.sum(jnp.where(on, 0.0, jnp.square(c)))),
    }


def vicreg(
    z0: Array,
    z1: Array,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    epsilon: float = 1e-4,
) -> dict[str, Mean]:
    """Weighted invariance, variance and covariance terms of two views [N, D] (Bardes et al. 2021, arXiv 2105.04906, eq. 6).

    invariance: mean over N and D of the squared difference. variance: `mean_d relu(1 - sqrt(var_d + epsilon))`, averaged
    over the two views. covariance: `sum_{d != e} Cov_de^2 / D`, added over the two views. Variances are unbiased.
    """
    z0, z1 = z0.astype(wide(z0.dtype)), z1.astype(wide(z1.dtype))
    return {
        "invariance": _whole(invariance * jnp.mean(jnp.square(z0 - z1))),
        "variance": _whole(variance * 0.5 * (_below_unit(z0, epsilon) + _below_unit(z1, epsilon))),
        "covariance": _whole(covariance * (_off_covariance(z0) + _off_covariance(z1))),
    }


def random_directions(key: Array, width: int, count: int) -> Array:
    """`count` directions, uniform on the sphere, as the unit columns of a float32 [D, M] array."""
    a = jax.random.normal(key, (width, count))
    return a / jnp.linalg.norm(a, axis=0, keepdims=True)


def sigreg(z: Array, directions: Array, knots: int = 17, t_max: float = 3.0) -> Array:
    """Epps-Pulley distance of the projections of z from a standard normal (Balestriero & LeCun 2025, arXiv 2511.08544).

    `N integral |mean_n exp(i t u_n) - exp(-t^2/2)|^2 exp(-t^2/2) dt` for `u = z a`, averaged over the directions a. The
    integral over [-t_max, t_max] is a trapezoid rule on `knots` points of its right half.

    Args:
        z: [N, D] embeddings of the global batch, neither centred nor whitened.
        directions: [D, M] unit columns, the same on every device.
        knots: J points from 0 to t_max.
        t_max: end of the integral.

    Returns:
        A scalar that grows with N for embeddings that are not normal, and is of order 1 for those that are.
    """
    kind = wide(z.dtype)
    u = jnp.matmul(z.astype(kind), directions.astype(kind), precision=jax.lax.Precision.HIGHEST)
    t = jnp.linspace(0.0, t_max, knots, dtype=kind)
    step = t_max / (knots - 1)
    weights = jnp.full(knots, 2 * step, kind).at[jnp.array([0, knots - 1])].set(step) * jnp.exp(-(t**2) / 2)

    @jax.checkpoint  # phases are recomputed in the backward pass: they would be N x M x J numbers
    def knot(total: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
        t, weight = at
        real = jnp.mean(jnp.cos(t * u), axis=0) - jnp.exp(-(t**2) / 2)
        imaginary = jnp.mean(jnp.sin(t * u), axis=0)
        return total + weight * (jnp.square(real) + jnp.square(imaginary)), None

    distance, _ = jax.lax.scan(knot, jnp.zeros(u.shape[1], kind), (t, weights))
    return u.shape[0] * distance.mean()


def _whole(value: Array) -> Mean:
    return Mean(value, jnp.ones((), value.dtype))


def _standardized(z: Array, epsilon: float) -> Array:
    z = z.astype(wide(z.dtype))
    return (z - z.mean(axis=0)) * jax.lax.rsqrt(z.var(axis=0) + epsilon)


def _below_unit(z: Array, epsilon: float) -> Array:
    return jnp.mean(jax.nn.relu(1 - jnp.sqrt(z.var(axis=0, ddof=1) + epsilon)))


def _off_covariance(z: Array) -> Array:
    centred = z - z.mean(axis=0)
    covariance = centred.T @ centred / (z.shape[0] - 1)
    off = jnp.where(jnp.eye(z.shape[1], dtype=bool), 0.0, jnp.square(covariance))
    return jnp.sum(off) / z.shape[1]
