"""Views of series: what each change leaves alone, and TS2Vec's crops against the lengths that the authors' code draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.series import ops
from ssl_jax.data.series.crops import crops, from_step, lengths
from ssl_jax.data.series.views import SeriesViews
from ssl_jax.errors import UserError

RNG = np.random.default_rng(0)
SERIES = RNG.normal(size=(6, 40, 2)).astype(np.float32)
VALID = RNG.random((6, 40, 2)) < 0.9
KEYS = jax.random.split(jax.random.key(0), 6)
BATCH = {"series": SERIES, "valid": VALID}


def test_without_options_a_view_is_the_record_with_zeros_for_what_is_missing():
    views = jax.jit(SeriesViews(count=2))(KEYS, BATCH)
    for view in range(2):
        np.testing.assert_array_equal(views["series"][:, view], np.where(VALID, SERIES, 0))
        np.testing.assert_array_equal(views["valid"][:, view], VALID)
    assert SeriesViews().plain(BATCH).shape == (6, 80)


@jax.jit
def changed():
    """Every change, at nothing and at something."""
    key, x, valid = KEYS[0], jnp.asarray(SERIES[0]), jnp.ones((40, 2), bool)
    straight, tone = (
        jnp.linspace(0, 1, 40)[:, None] * jnp.ones(2),
        jnp.sin(2 * jnp.pi * 5 * jnp.arange(40) / 40)[:, None],
    )
    same = {
        "jitter": ops.jitter(key, x, 0.0),
        "scaling": ops.scaling(key, x, 0.0),
        "slice": ops.window_slice(key, x, valid, (1.0, 1.0))[0],
        "warp": ops.time_warp(key, x, valid, 0.0)[0],
        "frequencies": ops.frequency_mask(key, x, 0.0),
        "spectrum": ops.spectrum_changed(key, x, 0.0, 0.0),
    }
    some = {
        "ratio": ops.scaling(key, x, 0.5) / x,
        "noise": ops.jitter(key, jnp.zeros((4000, 2)), 0.3),
        "warped": ops.time_warp(key, straight, valid, 0.5)[0],
        "left": jax.vmap(lambda k: ops.crop(k, valid, (0.5, 0.5)).sum(0))(KEYS),
        "tones": jax.vmap(lambda k: jnp.abs(ops.frequency_mask(k, tone, 0.5)).max())(jax.random.split(key, 20)),
        "between": ops.at_places(x, valid.at[10].set(False), jnp.array([9.0, 9.5, 10.0, 10.5, 11.0]))[1],
    }
    return same, some


def test_changes_at_nothing_are_the_identity_and_each_does_what_it_says():
    same, some = jax.device_get(changed())
    for name, found in same.items():
        np.testing.assert_allclose(found, SERIES[0], atol=2e-5, err_msg=name)
    np.testing.assert_allclose(some["ratio"], np.broadcast_to(some["ratio"][:1], (40, 2)), rtol=1e-4)
    assert np.std(some["noise"]) == pytest.approx(0.3, rel=0.05)
    warped, straight = some["warped"][:, 0], np.linspace(0, 1, 40)
    assert np.all(np.diff(warped) > 0)
    np.testing.assert_allclose(warped[[0, -1]], [0, 1], atol=1e-5)
    assert np.abs(warped - straight).max() > 0.02
    np.testing.assert_array_equal(some["left"], 20)
    gone = some["tones"] < 1e-5
    np.testing.assert_allclose(some["tones"][~gone], 1, atol=0.01)
    assert 3 < gone.sum() < 17
    assert some["between"][:, 0].tolist() == [True, False, False, False, True]


def test_the_two_crops_share_the_overlap_and_reach_as_far_in_all_series():
    steps = 24

    @jax.jit
    def drawn(seed):
        found = lengths(jax.random.key(seed), steps)
        inside, first = jax.vmap(lambda key: crops(key, found, steps))(KEYS)
        return found, inside, first

    overlaps = []
    for seed in range(40):
        found, inside, first = jax.device_get(drawn(seed))
        both = inside.all(axis=1)
        assert (both.sum(axis=1) == found.overlap).all()
        assert (both.argmax(axis=1) == first).all()
        assert (inside[:, 0].sum(1) == found.overlap + found.before).all()
        assert (inside[:, 1].sum(1) == found.overlap + found.after).all()
        assert not np.any(np.diff(inside.astype(int), axis=2).clip(0).sum(2) > 1)
        overlaps.append(int(found.overlap))
    assert min(overlaps) >= 2
    assert max(overlaps) > 16
    states = jnp.arange(12.0).reshape(1, 12, 1)
    assert from_step(states, jnp.array([5]))[0, :7, 0].tolist() == list(range(5, 12))


def test_what_is_no_series_is_refused():
    good = {"series": SERIES[0], "valid": VALID[0]}
    SeriesViews().check([good])
    for change in ({"valid": VALID[0][:5]}, {"series": SERIES[0][:, 0]}, {"valid": VALID[0].astype(int)}):
        with pytest.raises(UserError, match="a record has a series of shape"):
            SeriesViews().check([good | change])
    with pytest.raises(UserError, match="not finite"):
        SeriesViews().check([{"series": np.full((4, 1), np.nan), "valid": np.ones((4, 1), bool)}])
    for options in ({"count": 0}, {"crop": (0.0, 1.0)}, {"jitter": -1.0}, {"frequency_mask": 1.0}):
        with pytest.raises(UserError, match=f"augment.{next(iter(options))}"):
            SeriesViews(**options)
