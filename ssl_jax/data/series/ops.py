"""Changes of one series [T, C] by a key, on the device. Each is a pure function; values that are missing are 0 and stay it.

`valid` bool [T, C] says what is there. Names and meanings as in Um et al. 2017, arXiv 1706.00527, and Wen et al. 2021,
"Time Series Data Augmentation for Deep Learning", arXiv 2002.12478.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.data.fourier import irfft, rfft


def jitter(key: Array, series: Array, deviation: float) -> Array:
    """Independent noise N(0, deviation^2) on every value."""
    return series + deviation * jax.random.normal(key, series.shape, series.dtype)


def scaling(key: Array, series: Array, deviation: float) -> Array:
    """Each channel times a factor from N(1, deviation^2)."""
    return series * (1 + deviation * jax.random.normal(key, (1, series.shape[1]), series.dtype))


def crop(key: Array, valid: Array, shares: tuple[float, float]) -> Array:
    """What is left valid [T, C] of a stretch of steps at a random place, whose share is drawn evenly between `shares`."""
    first, last = stretch(key, len(valid), shares)
    steps = jnp.arange(len(valid))[:, None]
    return valid & (steps >= first) & (steps < last)


def window_slice(key: Array, series: Array, valid: Array, shares: tuple[float, float]) -> tuple[Array, Array]:
    """Such a stretch, drawn out to the length of the whole by linear interpolation (Le Guennec et al. 2016)."""
    first, last = stretch(key, len(series), shares)
    places = first + (last - 1 - first) * jnp.linspace(0, 1, len(series))
    return at_places(series, valid, places)


def time_warp(key: Array, series: Array, valid: Array, strength: float, knots: int = 4) -> tuple[Array, Array]:
    """Time runs faster and slower: its speed is a line through `knots` factors exp(N(0, strength^2)); both ends stay."""
    factors = jnp.exp(strength * jax.random.normal(key, (knots,)))
    speed = jnp.interp(jnp.linspace(0, knots - 1, len(series) - 1), jnp.arange(knots), factors)
    travelled = jnp.concatenate([jnp.zeros(1), jnp.cumsum(speed)])
    return at_places(series, valid, travelled / travelled[-1] * (len(series) - 1))


def frequency_mask(key: Array, series: Array, share: float) -> Array:
    """Without the parts at a `share` of all frequencies, drawn for all channels at once; the mean stays."""
    found = rfft(series.T, len(series))
    gone = jax.random.uniform(key, found.shape[-1:]) < share
    kept = ~gone | (jnp.arange(len(gone)) == 0)
    return irfft(found * kept, len(series)).T.astype(series.dtype)


def stretch(key: Array, length: int, shares: tuple[float, float]) -> tuple[Array, Array]:
    """The first step of a stretch and the one after its last, whose share of `length` is drawn evenly between `shares`."""
    size, place = jax.random.split(key)
    share = jax.random.uniform(size, minval=shares[0], maxval=shares[1])
    count = jnp.clip(jnp.round(share * length).astype(jnp.int32), 2, length)
    first = jax.random.randint(place, (), 0, length - count + 1)
    return first, first + count


def at_places(series: Array, valid: Array, places: Array) -> tuple[Array, Array]:
    """Values between steps, by linear interpolation at `places` [T] in [0, T - 1]; valid where both neighbours are."""
    low = jnp.clip(jnp.floor(places).astype(jnp.int32), 0, len(series) - 1)
    high = jnp.minimum(low + 1, len(series) - 1)
    part = (places - low)[:, None].astype(series.dtype)
    both = valid[low] & (valid[high] | (part == 0))
    return jnp.where(both, (1 - part) * series[low] + part * series[high], 0), both


def spectrum_changed(key: Array, magnitudes: Array, removed: float, added: float) -> Array:
    """Magnitudes [F, C] without a share `removed` of the frequencies, and with `added` of them raised to as much as a tenth of
    the largest one: the views of TF-C (Zhang et al. 2022, arXiv 2206.08496, section 4.2)."""
    off, on, height = jax.random.split(key, 3)
    kept = magnitudes * (jax.random.uniform(off, magnitudes.shape) >= removed)
    raised = jax.random.uniform(on, magnitudes.shape) < added
    top = 0.1 * magnitudes.max() * jax.random.uniform(height, magnitudes.shape)
    return jnp.where(raised, jnp.maximum(kept, top), kept).astype(magnitudes.dtype)
