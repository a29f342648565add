"""The audio spectrogram transformer: its patches overlap, and are ordered by band."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.models.ast import AST

MODEL = AST(width=8, depth=1, heads=2, mlp_dim=8, patch=4, strides=(3, 2), bands=10, frames=9, remat="none")


def test_tokens_are_ordered_by_band_and_see_overlapping_squares():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9, 10, 1)), jnp.float32)
    variables = jax.jit(MODEL.init)(jax.random.key(0), x)

    @jax.jit
    def run(x):
        layer = MODEL.apply(variables, x, 1, method="layers")[0]
        return MODEL.apply(variables, x), MODEL.apply(variables, x, method="features"), layer, embedded(x)

    def embedded(x):
        return MODEL.apply(variables, x, method="embedded")

    tokens, features, layer, entered = run(x)
    assert MODEL.grid == (3, 3)
    assert (tokens.shape, layer.tokens.shape) == ((2, 11, 8), (2, 3, 3, 8))
    np.testing.assert_allclose(features, tokens[:, :2].mean(1), atol=1e-6)
    # The square at band 3 and frame 4 is the third frame of the second row of bands.
    params = variables["params"]
    square = np.tensordot(x[:, 4:8, 3:7], params["patches"]["kernel"], 3) + params["patches"]["bias"]
    np.testing.assert_allclose(entered[:, 2 + 3 + 2], square + params["positions"][2 + 3 + 2], atol=1e-5)


def test_spectrograms_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"model.frames=9, model.bands=10: spectrograms are of \(10, 9\)"):
        jax.eval_shape(MODEL.init, jax.random.key(0), jnp.zeros((1, 10, 9, 1)))
