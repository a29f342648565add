"""The Kozachenko-Leonenko regulariser: no two features of a batch too close."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.errors import UserError
from ssl_jax.losses.contrastive import normalize
from ssl_jax.losses.mean import Mean, mean_of


def koleo(features: Array, groups: int = 1, epsilon: float = 1e-8) -> Mean:
    """`-log` of the distance to the nearest neighbour (Sablayrolles et al. 2018, arXiv 1806.03198, eq. 2).

    `-mean_i log(||z_i - z_j(i) + epsilon|| + epsilon)` with z normalised and j(i) the nearest other row, found without
    gradient; the gradient flows through both rows.

    Fidelity: the authors take the row with the largest inner product, which is the nearest in exact arithmetic. At the
    start of training rows are nearly equal and all products 1 but for rounding; distances around their mean are not.

    Args:
        features: [B, D].
        groups: rows look for neighbours in one of so many groups of neighbouring rows; 1 is the global batch.
        epsilon: bounds the loss of a duplicate to -log(epsilon).

    Returns:
        `Mean` over B rows. Raises UserError unless `groups` leaves at least two rows in each group.
    """
    batch = features.shape[0]
    if groups < 1 or batch % groups or batch // groups < 2:
        raise UserError(
            f"koleo_groups={groups} does not split a batch of {batch} into equal groups of at least 2; use a divisor of it"
        )
    z = normalize(features, epsilon).reshape(groups, batch // groups, -1)
    centred = jax.lax.stop_gradient(z - z.mean(axis=1, keepdims=True))
    # The squared distance of rows i and j without the term of i, which is the same for all j.
    distance = jnp.sum(centred**2, axis=-1)[:, None, :] - 2 * jnp.einsum("gid,gjd->gij", centred, centred)
    itself = jnp.eye(batch // groups, dtype=bool)
    nearest = jnp.argmin(jnp.where(itself, jnp.inf, distance), axis=-1)
    difference = z - jnp.take_along_axis(z, nearest[..., None], axis=1) + epsilon
    return mean_of(-jnp.log(jnp.linalg.norm(difference, axis=-1) + epsilon))
