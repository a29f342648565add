"""HOG against loops over pixels."""

import math

import jax
import numpy as np

from ssl_jax.data.image.hog import hog


def by_loops(image, cell, bins):
    """Histograms [H / cell, W / cell, C * bins] of one picture [H, W, C]."""
    height, width, channels = image.shape
    edge = lambda i, n: -i if i < 0 else 2 * (n - 1) - i if i >= n else i  # noqa: E731 (the outermost row is not repeated)
    out = np.zeros((height // cell, width // cell, channels, bins))
    for r in range(height):
        for c in range(width):
            for k in range(channels):
                at = lambda i, j: image[edge(r + i, height), edge(c + j, width), k]  # noqa: B023, E731
                across = sum(w * (at(i, -1) - at(i, 1)) for i, w in ((-1, 1), (0, 2), (1, 1)))
                down = sum(w * (at(-1, j) - at(1, j)) for j, w in ((-1, 1), (0, 2), (1, 1)))
                angle = math.atan2(across, down) % math.pi
                out[r // cell, c // cell, k, min(int(angle / math.pi * bins), bins - 1)] += math.hypot(across, down)
    length = np.sqrt((out**2).sum(-1, keepdims=True))
    return np.where(length > 0, out / np.maximum(length, 1e-12), 0).reshape(*out.shape[:2], -1)


def test_histograms_are_those_of_loops_over_pixels():
    with jax.enable_x64(True):
        image = np.random.default_rng(0).normal(size=(2, 12, 16, 3))
        image[0, :4, :4] = 1.0  # a cell without any edge but at its border
        found = np.asarray(jax.jit(hog, static_argnums=(1, 2))(image, 4, 9))
        assert found.shape == (2, 3, 4, 27)
        np.testing.assert_allclose(found, [by_loops(x, 4, 9) for x in image], atol=1e-12)


def test_edges_of_one_direction_fall_into_one_bin_and_brightness_does_not_count():
    ramp = np.tile(np.arange(8.0), (1, 8, 1))[..., None].astype(np.float32)
    found = np.asarray(hog(ramp, 8))[0, 0, 0]
    assert (found > 0).sum() == 1
    np.testing.assert_allclose(np.asarray(hog(3 * ramp + 5, 8))[0, 0, 0], found, atol=1e-6)
