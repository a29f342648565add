import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.audio.corruptions import noisy, shifted, time_shift, white_noise

WAVES = np.sin(np.linspace(0, 400, 4000)).astype(np.float32) * np.array([[1.0], [0.01]], np.float32)
KEYS = jax.random.split(jax.random.key(0), 2)


def test_noise_has_the_power_that_the_level_says_whatever_the_wave_s_own():
    noise = np.asarray(noisy(WAVES, KEYS, 10.0)) - WAVES
    np.testing.assert_allclose(10 * np.log10((WAVES**2).mean(1) / (noise**2).mean(1)), 10, atol=0.3)
    errors = [float(jnp.abs(white_noise(WAVES, KEYS, s) - WAVES).mean()) for s in range(1, 6)]
    assert errors == sorted(errors)
    np.testing.assert_array_equal(noisy(np.zeros((2, 9), np.float32), KEYS, 0.0), 0)


def test_a_shift_moves_samples_and_lets_silence_in():
    x = np.arange(1.0, 6).reshape(1, 5)
    assert shifted(x, np.array([2])).tolist() == [[0, 0, 1, 2, 3]]
    assert shifted(x, np.array([-1])).tolist() == [[2, 3, 4, 5, 0]]
    lost = [4000 - int((np.asarray(time_shift(np.ones((1, 4000)), KEYS[:1], s)) > 0).sum()) for s in range(1, 6)]
    assert lost == sorted(lost)
    assert lost[-1] <= 2000


@pytest.mark.parametrize("corruption", [white_noise, time_shift])
def test_a_wave_does_not_depend_on_the_others(corruption):
    np.testing.assert_allclose(corruption(WAVES[1:], KEYS[1:], 3), corruption(WAVES, KEYS, 3)[1:], rtol=1e-6, atol=1e-8)
