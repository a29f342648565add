"""Transforms as products: those of NumPy, for every kind of size, and split over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.fourier import DIRECT, fft, irfft, rfft
from ssl_jax.devices.mesh import BATCH_AXES, make_mesh

RNG = np.random.default_rng(0)
SIZES = [1, 2, 3, 8, 31, 400, DIRECT, 1500, 1031, 4096]  # 1031 is prime


@pytest.mark.parametrize("size", SIZES)
def test_transforms_are_those_of_numpy(size):
    x = RNG.normal(size=(2, 3, size)).astype(np.float32)
    tolerance = {"rtol": 0, "atol": 2e-6 * size}
    spectrum = jax.jit(rfft, static_argnums=1)(x, size)
    np.testing.assert_allclose(spectrum, np.fft.rfft(x), **tolerance)
    np.testing.assert_allclose(fft(jnp.asarray(x + 1j * x[::-1])), np.fft.fft(x + 1j * x[::-1]), **tolerance)
    np.testing.assert_allclose(jax.jit(irfft, static_argnums=1)(spectrum, size), x, atol=1e-5)
    np.testing.assert_allclose(rfft(x, size + 5), np.fft.rfft(x, size + 5), rtol=0, atol=2e-6 * (size + 5))


@pytest.mark.parametrize("size", [256, 4096])
def test_a_batch_over_devices_stays_there(size):
    mesh = make_mesh(8)
    rows = jax.NamedSharding(mesh, jax.P(BATCH_AXES))
    x = jax.ShapeDtypeStruct((16, size), "float32", sharding=rows)
    each = jax.vmap(lambda row: irfft(rfft(row, size) * 2, size))
    compiled = jax.jit(each, out_shardings=rows).lower(x).compile()
    assert "all-gather" not in compiled.as_text()
