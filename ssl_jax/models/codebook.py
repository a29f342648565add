"""Codebooks: rows that vectors are told by, and a tokenizer of pictures made of one."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.losses.regression import standardize
from ssl_jax.models.grid import Patch, patchify


def nearest(vectors: Array, rows: Array) -> Array:
    """The number int [...] of the row of `rows` [K, D] that is nearest to each of `vectors` [..., D]."""
    kind = wide(vectors.dtype)
    products = jnp.einsum("...d,kd->...k", vectors, rows.astype(vectors.dtype), preferred_element_type=kind)
    return jnp.argmin(jnp.square(rows.astype(kind)).sum(axis=-1) - 2 * products, axis=-1)


class PatchCodebook(nn.Module):
    """Codes of patches: the nearest of `codes` rows. With `standardized`, of patches with mean 0 and variance 1 each."""

    codes: int
    patch: Patch
    standardized: bool = False

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """Images [B, *axes, C] -> codes int [B, N]."""
        vectors = self.vectors(image)
        return nearest(vectors, self.param("rows", nn.initializers.normal(1.0), (self.codes, vectors.shape[-1])))

    def vectors(self, image: Array) -> Array:
        """What is compared with the rows, [B, N, patch length]."""
        patches = patchify(image, self.patch)
        return standardize(patches, epsilon=1e-2) if self.standardized else patches
