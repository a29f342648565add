"""Losses that compare a prediction with a target, entry by entry."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.losses.contrastive import normalize
from ssl_jax.losses.mean import Mean, mean_of


def standardize(x: Array, epsilon: float, ddof: int = 0) -> Array:
    """`x` [..., D] minus its mean, over `sqrt(variance + epsilon)`, along the last axis and without parameters.

    `ddof=1` divides the variance by D - 1: MAE's normalised pixels. `ddof=0` is LayerNorm.
    """
    x = x.astype(wide(x.dtype))
    mean = x.mean(axis=-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(x.var(axis=-1, keepdims=True, ddof=ddof) + epsilon)


def masked_patch_mse(prediction: Array, target: Array, mask: Array) -> Mean:
    """Mean squared error on masked patches (He et al. 2021, arXiv 2111.06377, section 3).

    Args:
        prediction: [B, N, p*p*C].
        target: [B, N, p*p*C].
        mask: [B, N], 1 on patches that were removed. Only those count.
    """
    error = jnp.square(prediction.astype(wide(prediction.dtype)) - target).mean(axis=-1)
    return mean_of(error, mask.astype(error.dtype))


def smooth_l1(prediction: Array, target: Array, valid: Array | None = None) -> Mean:
    """Smooth L1 with beta 1: `d^2 / 2` where |d| < 1, else `|d| - 1/2` (Girshick 2015, arXiv 1504.08083, eq. 3).

    Args:
        prediction: [..., D].
        target: [..., D].
        valid: [...] True on the vectors that count; None counts all.
    """
    d = prediction.astype(wide(prediction.dtype)) - target
    size = jnp.abs(d)
    return mean_of_valid(jnp.where(size < 1.0, 0.5 * d * d, size - 0.5), valid)


def l1(prediction: Array, target: Array, valid: Array | None = None) -> Mean:
    """Absolute error (V-JEPA, Bardes et al. 2024, arXiv 2404.08471, eq. 1). The arguments are those of `smooth_l1`."""
    return mean_of_valid(jnp.abs(prediction.astype(wide(prediction.dtype)) - target), valid)


def mean_of_valid(loss: Array, valid: Array | None) -> Mean:
    """Mean of `loss` [..., D] over the vectors that are `valid` [...]; None: over all."""
    if valid is None:
        return mean_of(loss)
    return mean_of(loss, jnp.broadcast_to(valid[..., None], loss.shape).astype(loss.dtype))


def masked_l1(prediction: Array, target: Array, weights: Array) -> Mean:
    """Mean absolute error of the vectors that count (Xie et al. 2021, SimMIM, arXiv 2111.09886, eq. 1).

    Args:
        prediction: [..., D].
        target: [..., D].
        weights: [...], 0 on vectors that do not count.
    """
    error = jnp.abs(prediction.astype(wide(prediction.dtype)) - target).mean(axis=-1)
    return mean_of(error, weights.astype(error.dtype))


def scaled_smooth_l1(prediction: Array, target: Array, weights: Array, beta: float, scale: float) -> Mean:
    """`scale` times the sum over D of smooth L1, the mean over vectors that count (Baevski et al. 2022, arXiv 2202.03555, eq. 3).

    Smooth L1 is `d^2 / (2 beta)` where |d| < beta, else `|d| - beta / 2`; with `beta=0` it is `d^2`, as in the authors' code.

    Args:
        prediction: [..., D].
        target: [..., D].
        weights: [...], 0 on vectors that do not count.
        beta: where the square ends.
        scale: 1 / sqrt(D) in the authors' code, for pictures and sound.
    """
    d = prediction.astype(wide(prediction.dtype)) - target
    size = jnp.abs(d)
    error = d * d if beta == 0 else jnp.where(size < beta, 0.5 * d * d / beta, size - 0.5 * beta)
    return mean_of(scale * error.sum(axis=-1), weights.astype(error.dtype))


def negative_cosine(prediction: Array, target: Array) -> Mean:
    """`-cos(prediction, sg(target))` of rows [..., D], averaged (SimSiam, Chen & He 2020, arXiv 2011.10566, eq. 1)."""
    return mean_of(-jnp.sum(normalize(prediction) * normalize(jax.lax.stop_gradient(target)), axis=-1))


def normalized_error(prediction: Array, target: Array) -> Mean:
    """`|| p/|p| - sg(z/|z|) ||^2 = 2 - 2 cos` of rows [..., D], averaged (BYOL, Grill et al. 2020, arXiv 2006.07733, eq. 2).

    A norm is at least 1e-6, as in the authors' code.
    """
    target = jax.lax.stop_gradient(target)
    return mean_of(2 - 2 * jnp.sum(normalize(prediction, 1e-6) * normalize(target, 1e-6), axis=-1))
