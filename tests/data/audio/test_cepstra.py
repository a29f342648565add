"""Cepstra against SciPy's cosine transform, and slopes of lines."""

import numpy as np
import scipy.fft

from ssl_jax.data.audio.cepstra import cepstra, slopes, with_slopes


def test_cepstra_are_the_liftered_orthonormal_cosines():
    energies = np.random.default_rng(0).normal(size=(2, 5, 23)).astype(np.float32)
    cosines = scipy.fft.dct(energies, norm="ortho")[..., :13]
    np.testing.assert_allclose(cepstra(energies, 13, lifter=0.0), cosines, atol=1e-5)
    np.testing.assert_allclose(
        cepstra(energies, 13), cosines * (1 + 11 * np.sin(np.pi * np.arange(13) / 22)), atol=1e-4
    )


def test_slopes_of_lines_and_parabolas():
    t = np.arange(9.0)[:, None]
    np.testing.assert_allclose(slopes(3 * t + 1)[2:-2], 3)
    np.testing.assert_allclose(
        slopes(t**2)[2:-2], 2 * t[2:-2]
    )  # least squares around the middle: no bias of even powers
    assert with_slopes(t[None]).shape == (1, 9, 3)
    np.testing.assert_allclose(with_slopes(t**2)[4:-4, 2], 2)
