"""HuBERT: units are clusters of sound, hidden frames alone are told, known losses, equal on all meshes, refusals."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.audio.views import WaveViews
from ssl_jax.devices.mesh import BATCH_AXES, make_mesh
from ssl_jax.errors import UserError
from ssl_jax.models.recurrent import GRU
from ssl_jax.models.units import FrameUnits
from ssl_jax.models.wave import FrameTransformer, SequenceEncoder, WaveConv
from ssl_jax.objectives.base import Keys, Progress
from ssl_jax.objectives.hubert import HuBERT

ROWS, T, RATE, NOW = 8, 1600, 8000, Progress(0, 10)
FRONT = WaveConv(widths=(8, 8), kernels=(10, 16), strides=(5, 16), norm="time")
ENCODER = SequenceEncoder(FRONT, FrameTransformer(8, 1, 2, 16, kernel=4, groups=2, remat="none"))
HUBERT = HuBERT(ENCODER, WaveViews(rate=RATE), codes=4, width=8, span=3, fit_records=ROWS)
KEYS = Keys(jax.random.split(jax.random.key(0), ROWS), jax.random.key(1))
LENGTHS = 800 + 100 * np.arange(ROWS)


def tones():
    """Two tones in turn, with a little noise, and padding of another kind."""
    hertz = np.where(np.arange(ROWS) % 2, 500.0, 2000.0)[:, None]
    wave = np.sin(2 * np.pi * hertz * np.arange(T) / RATE) + 0.01 * np.random.default_rng(0).normal(size=(ROWS, T))
    return {"wave": wave.astype(np.float32), "valid": np.arange(T) < LENGTHS[:, None]}


@cache
def started():
    views = jax.jit(lambda batch: HUBERT.views(KEYS, batch, NOW))(tones())
    return views, HUBERT.fitted(jax.jit(HUBERT.init)(jax.random.key(0), views), tones())


def told(objective, params, extra, views):
    out = objective.loss(params, extra, views, jax.random.key(3), NOW)
    return out.total(), {name: mean.value for name, mean in (out.losses | out.metrics).items()}


def test_frames_of_one_sound_have_units_that_no_other_sound_has():
    batch = tones()
    views, state = started()
    units = np.asarray(HUBERT.coder.apply({"params": state.extra["centres"]}, batch["wave"]))
    there = np.asarray(FRONT.valid_frames(batch["valid"]))
    assert units.shape == there.shape == views["hidden"].shape
    of = [set(units[i::2][there[i::2]]) for i in range(2)]
    assert of[0] & of[1] == set()
    again = HUBERT.fitted(state, batch).extra["centres"]["rows"]
    np.testing.assert_array_equal(again, state.extra["centres"]["rows"])


def test_energies_that_are_given_have_the_units_of_their_means():
    energies = np.random.default_rng(0).normal(size=(2, 40, 16)).astype(np.float32)
    front = WaveConv(widths=(8,), kernels=(4,), strides=(2,))
    vectors = FrameUnits(5, front, RATE, coefficients=3).vectors(jnp.asarray(energies))
    assert vectors.shape == (2, front.valid_frames(jnp.ones((2, 40), bool)).shape[1], 9)
    alone = FrameUnits(5, WaveConv(widths=(8,), kernels=(1,), strides=(1,)), RATE, coefficients=3).vectors(energies)
    np.testing.assert_allclose(vectors[:, 3], alone[:, 6:10].mean(1), atol=1e-5)


def test_equal_rows_are_guessed_at_by_chance_and_only_valid_hidden_frames_count():
    views, state = started()
    flat = state.params | {"units": {"rows": jnp.ones_like(state.params["units"]["rows"])}}
    other = views | {"wave": jnp.where(views["valid"], views["wave"], 9.0)}

    @jax.jit
    def measured(state, views, other):
        plain = replace(HUBERT, penalty=0.0)
        chance = [told(replace(plain, seen=seen), flat, state.extra, views) for seen in (0.0, 0.5)]
        return chance, [told(HUBERT, state.params, state.extra, x)[0] for x in (views, other)]

    ((loss, parts), (both, _)), (first, again) = measured(state, views, other)
    assert set(parts) == {"units", "accuracy"}
    assert float(loss) == pytest.approx(np.log(4), rel=1e-6)
    assert float(both) == pytest.approx(1.5 * np.log(4), rel=1e-6)
    assert float(again) == pytest.approx(float(first), rel=1e-5)


@pytest.mark.slow
def test_loss_and_gradient_are_the_same_on_eight_devices():
    views, state = started()
    graded = jax.jit(jax.value_and_grad(partial(told, HUBERT), has_aux=True))
    loss, gradient = graded(state.params, state.extra, views)
    mesh = make_mesh(8)
    with jax.set_mesh(mesh):
        placed = jax.device_put(views, jax.NamedSharding(mesh, jax.P(BATCH_AXES)))
        many, theirs = graded(state.params, state.extra, placed)
    np.testing.assert_allclose(float(loss[0]), float(many[0]), rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), gradient, theirs)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"encoder": SequenceEncoder(FRONT, GRU(8))}, "hubert hides frames"),
        ({"codes": 1}, "codes=1 must be 2 or more"),
        ({"mask_share": 1.0}, "mask_share=1.0"),
    ],
)
def test_what_makes_no_sense_is_refused(options, said):
    with pytest.raises(UserError, match=said):
        replace(HUBERT, **options)
