"""The host's random numbers are those of the device, to the last bit."""

import jax
import numpy as np
import pytest

from ssl_jax.data import threefry
from ssl_jax.objectives.base import example_keys


@pytest.mark.parametrize("seed", [0, 7, -3, 2**31 - 1])
def test_keys_and_uniforms_are_those_of_jax(seed):
    epochs, records = np.array([0, 1, 5], np.int32), np.array([3, 0, 2**31 - 1], np.int32)
    ours, theirs = threefry.example_keys(seed, epochs, records), example_keys(seed, epochs, records)
    np.testing.assert_array_equal(ours, jax.random.key_data(theirs))
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (64,)))(theirs)
    np.testing.assert_array_equal(threefry.uniform(ours, 22), uniform[:, :22])
    np.testing.assert_array_equal(threefry.seeded(seed), jax.random.key_data(jax.random.key(seed)))
