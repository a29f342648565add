"""Waves and spectrograms on the device: what is drawn, what is kept, and what libraries have."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.audio import stft, waves
from ssl_jax.data.audio.energies import EnergyViews
from ssl_jax.data.audio.logmel import LogMel, logmel_of
from ssl_jax.data.audio.masking import band_mask, spec_augment
from ssl_jax.data.audio.mel import bank, frequencies, htk, slaney
from ssl_jax.data.audio.segments import levelled
from ssl_jax.data.audio.spectrograms import SpectrogramViews, zoomed
from ssl_jax.data.audio.views import WaveViews
from ssl_jax.data.audio.waves import Clip
from ssl_jax.errors import UserError
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.base import Keys, Progress
from ssl_jax.objectives.mae import MAE

RATE = 8000


def tone(hertz, samples=4096, phase=0.0):
    return jnp.asarray(np.sin(2 * np.pi * hertz * np.arange(samples) / RATE + phase), jnp.float32)


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def batch(count=8, samples=2000):
    rng = np.random.default_rng(0)
    valid = np.arange(samples) < rng.integers(samples // 3, samples + 1, count)[:, None]
    return {"wave": (rng.normal(0, 0.1, (count, samples)) * valid).astype(np.float32), "valid": valid}


def test_spec_augment_hides_bands_as_often_and_as_wide_as_the_paper_says():
    masks = np.asarray(jax.jit(jax.vmap(lambda key: band_mask(key, 40, 40, 8, 1)))(keys(4000)))
    widths = masks.sum(axis=1)
    counts = np.bincount(widths, minlength=9)
    assert len(counts) == 9  # 0 to 8, both included
    assert counts.min() > 0.8 * 4000 / 9
    assert counts.max() < 1.2 * 4000 / 9
    assert (np.abs(np.diff(masks.astype(int), axis=1)).sum(axis=1) <= 2).all()  # one band each
    starts = masks[widths == 8].argmax(axis=1)
    assert set(starts) == set(range(33))  # U[0, size - width]


def test_spec_augment_leaves_the_mean_and_at_most_its_share_of_time():
    x = jnp.ones((60, 32, 1))
    draw = jax.jit(jax.vmap(lambda key: spec_augment(key, x, 40, (6, 2), (50, 2), 0.2)))
    made = np.asarray(draw(keys(500)))[..., 0]
    assert set(np.unique(made)) == {0.0, 1.0}
    frames = (made == 0).all(axis=2)
    assert frames.sum(axis=1).max() <= 2 * 8  # a fifth of 40, twice
    assert not frames[:, 40:].any()
    bands = (made == 0).all(axis=1).sum(axis=1)
    assert bands.max() <= 12
    np.testing.assert_array_equal(jax.jit(lambda key: spec_augment(key, x, 40, (0, 0), (0, 0), 1.0))(keys(1)[0]), x)


def test_a_stretch_of_rate_one_changes_nothing_and_a_tone_keeps_its_bin():
    mel = LogMel(RATE, bands=20)
    spectra = jax.jit(mel.transform)(tone(1000.0) + 0.3 * tone(2300.0))
    play = jax.jit(partial(stft.stretched, hop=mel.step, size=mel.width))
    np.testing.assert_allclose(play(spectra, 1.0), spectra, atol=2e-3)
    for rate in (0.8, 1.25):
        played = np.asarray(play(spectra, rate))
        sounding = played[: int(len(played) / max(rate, 1)) - 1]
        assert set(np.abs(sounding).argmax(axis=1)) == {round(1000 * mel.width / RATE)}
        wave = stft.resynthesised(
            jnp.asarray(sounding), mel.weights, mel.step, mel.size + mel.step * (len(sounding) - 1)
        )
        heard = np.abs(np.fft.rfft(np.asarray(wave)[400:-400] * np.hanning(len(wave) - 800)))
        assert abs(heard.argmax() * RATE / (len(wave) - 800) - 1000) < 5  # phases fit together: it is still that tone
    assert not np.asarray(play(spectra, 1.25))[-5:].any()


def test_interpolated_frames_are_those_between():
    x = jnp.arange(10.0)[:, None] * jnp.ones((1, 3))
    play = jax.jit(stft.interpolated)
    np.testing.assert_array_equal(play(x, 1.0), x)
    np.testing.assert_allclose(play(x, 0.5)[:, 0], np.arange(10) / 2)
    np.testing.assert_allclose(play(x, 1.5)[:, 0], np.minimum(np.arange(10) * 1.5, 9))


def test_filter_banks_are_those_of_the_scales():
    assert float(htk(np.array(1000.0))) == pytest.approx(999.986, abs=1e-3)
    assert [round(float(slaney(np.array(f))), 3) for f in (500.0, 6400.0)] == [7.5, 42.0]
    weights = bank("slaney", 16_000, 1024, 40, 0.0, 8000.0)
    np.testing.assert_allclose((weights * 16_000 / 1024).sum(axis=0), 1, atol=0.1)  # areas
    assert bank("htk", 16_000, 512, 20, 0.0, 8000.0).max() <= 1
    peaks = frequencies(16_000, 512)[bank("kaldi", 16_000, 512, 40, 20.0, 8000.0).argmax(axis=0)]
    assert (np.diff(peaks) >= 0).all()
    for bad in ({"name": "bark"}, {"bands": 0}, {"high": 9000.0}, {"colour": 1}):
        with pytest.raises(UserError):
            logmel_of(bad, 16_000, "augment.mel")


def test_waves_change_as_said():
    sound = np.concatenate([tone(500.0, 600), np.zeros(200, np.float32)])
    valid, echo = np.arange(800) < 600, np.eye(50, dtype=np.float32)[49:]

    @jax.jit
    def made(key):
        clip = Clip(jnp.asarray(sound), jnp.asarray(valid))
        return {
            "rolled": waves.rolled(key, clip),
            "noise": waves.with_noise(key, clip, (10.0, 10.0)),
            "louder": waves.gained(key, clip, (6.0, 6.0)),
            "echo": waves.reverberated(key, clip, jnp.asarray(echo)),
            "mixed": waves.mixed(key, clip, Clip(0 * clip.wave, clip.valid), 1e-9),
            "stretch": waves.random_cut(key, clip, 300),
            "whole": waves.random_cut(key, clip, 700),
        }

    found = jax.tree.map(np.asarray, made(jax.random.key(3)))
    np.testing.assert_allclose(np.sort(found["rolled"].wave[:600]), np.sort(sound[:600]))
    assert not any(found[name].wave[600:].any() for name in ("rolled", "noise", "echo"))
    noise = found["noise"].wave[:600] - sound[:600]
    assert 10 * np.log10(np.mean(np.square(sound[:600])) / np.mean(np.square(noise))) == pytest.approx(10, abs=0.5)
    np.testing.assert_allclose(found["louder"].wave, sound * 10 ** (6 / 20), rtol=1e-6)
    np.testing.assert_allclose(found["echo"].wave[49:600], sound[:551], atol=1e-5)
    np.testing.assert_allclose(found["mixed"].wave, sound, atol=1e-6)
    assert all(made(jax.random.key(seed))["stretch"].valid.all() for seed in range(5))  # inside of what is recorded
    assert found["whole"].valid.sum() == 600


def test_views_depend_on_the_example_and_mixing_on_who_follows_in_the_batch():
    views = WaveViews(RATE, 0.1, 2, {"gain": (-3.0, 3.0), "snr": (10.0, 20.0), "roll": True, "mix": 0.4})
    found, draws, call = batch(), keys(8), jax.jit(views.__call__)
    made = call(draws, found)
    assert {k: v.shape for k, v in made.items()} == {"wave": (8, 2, 800), "valid": (8, 2, 800)}
    turned = call(jnp.roll(draws, 3), {k: np.roll(v, 3, axis=0) for k, v in found.items()})
    np.testing.assert_allclose(turned["wave"], np.roll(made["wave"], 3, axis=0), atol=1e-6)
    assert np.abs(made["wave"][:, 0] - made["wave"][:, 1]).max(axis=1).min() > 0.01


OPTIONS = {"mel": {"bands": 16, "hop": 10.0}, "mean": (-6.0,), "std": (3.0,)}


def test_spectrogram_views_have_their_shape_and_the_mean_behind_a_clip():
    views = SpectrogramViews(RATE, 20, seen=22, count=2, **OPTIONS)
    filled, found = SpectrogramViews(RATE, 20, fill=0.0, **OPTIONS), batch()

    @jax.jit
    def told(draws, records):
        energies = views.logmel(records["wave"]), views.plain(records)
        return views(draws, records), views.evaluation(records), filled.evaluation(records), *energies

    made, seen, over, energies, plain = jax.tree.map(np.asarray, told(keys(8), found))
    made, seen, over = (x["spectrogram"] for x in (made, seen, over))
    assert (made.shape, seen.shape, plain.shape) == ((8, 2, 20, 16, 1), (8, 22, 16, 1), (8, 32))
    short = int(found["valid"].sum(axis=1).argmin())
    whole = views.logmel.count(int(found["valid"][short].sum()))
    assert not made[short, :, whole:].any()
    assert made[short, :, :whole].any()
    np.testing.assert_allclose(seen[short, :whole, :, 0] * 3 - 6, energies[short, :whole], atol=1e-4)
    np.testing.assert_allclose(plain[short, :16], energies[short, :whole].mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(over[short, whole:], 2.0)  # (0 + 6) / 3
    assert views.panel({"spectrogram": made})["spectrograms"].rows.shape == (8, 2, 16, 20, 1)


def test_series_of_energies_are_those_of_spectrograms_and_valid_where_all_samples_are():
    views, found = EnergyViews(RATE, 0.1, 2, **OPTIONS), batch()
    whole, planes = EnergyViews(RATE, **OPTIONS), SpectrogramViews(RATE, 22, **OPTIONS)
    made, seen, plane = jax.jit(lambda k, r: (views(k, r), whole.evaluation(r), planes.evaluation(r)))(keys(8), found)
    frames = views.logmel.count(round(0.1 * RATE))
    assert {k: v.shape for k, v in made.items()} == {"energies": (8, 2, frames, 16), "valid": (8, 2, frames)}
    np.testing.assert_array_equal(seen["valid"].sum(axis=1), views.logmel.frames_of(found["valid"].sum(axis=1)))
    np.testing.assert_allclose(seen["energies"][:, :22], plane["spectrogram"][..., 0], atol=1e-5)
    assert views.panel(made)["spectrograms"].rows.shape == (8, 2, 16, frames, 1)
    with pytest.raises(UserError, match=r"augment\.std"):
        EnergyViews(RATE, std=(0.0,))


def test_a_segment_with_channels_is_levelled_as_one():
    x = np.random.default_rng(0).normal(3, 2, (2, 6, 4)).astype(np.float32)
    valid = np.arange(6) < np.array([[6], [4]])
    found = np.asarray(levelled(Clip(jnp.asarray(x), jnp.asarray(valid))).wave)
    np.testing.assert_allclose([found[0].mean(), found[1, :4].mean()], 0, atol=1e-5)
    np.testing.assert_allclose([found[0].std(), found[1, :4].std()], 1, atol=1e-3)
    assert not found[1, 4:].any()


def test_changed_spectrograms_are_drawn_from_keys():
    options = OPTIONS | {"stretch": (0.8, 1.25), "interpolate": (0.9, 1.1), "zoom": (0.6, 1.5), "masked_bands": (4, 1)}
    views = SpectrogramViews(RATE, 12, **options)
    assert hash(views) == hash(SpectrogramViews(RATE, 12, **options))
    made = jax.jit(views.__call__)(keys(8), batch())["spectrogram"]
    assert made.shape == (8, 1, 12, 16, 1)
    assert np.isfinite(made).all()


def test_a_zoom_of_the_whole_plane_changes_nothing_and_a_larger_one_shrinks():
    x = jnp.asarray(np.random.default_rng(0).normal(1, 0.1, (12, 10, 1)), jnp.float32)
    np.testing.assert_allclose(jax.jit(partial(zoomed, factors=(1.0, 1.0)))(jax.random.key(0), x), x, atol=1e-5)
    shrunk = jax.jit(partial(zoomed, factors=(2.0, 2.0)))(jax.random.key(0), jnp.ones((40, 40, 1)))
    assert float(shrunk.mean()) == pytest.approx(0.25, abs=0.03)


def test_mae_reconstructs_patches_of_a_spectrogram_that_is_no_square():
    views = SpectrogramViews(RATE, 24, **OPTIONS)
    encoder = ViT(width=8, depth=1, heads=1, mlp_dim=8, patch=(8, 4), remat="none")
    method = MAE(encoder, views, mask_ratio=0.5, decoder_width=8, decoder_depth=1, decoder_heads=1)

    @jax.jit
    def shown(draws, records):
        made = method.views(Keys(draws, draws[0]), records, Progress(0, 1))
        state = method.init(draws[0], made)
        loss = method.loss(state.params, {}, made, draws[0], Progress(0, 1)).total()
        return made, loss, method.show(state.params, {}, made)["reconstruction"].rows

    made, loss, rows = shown(keys(4), batch(4))
    assert made["noise"].shape == (4, 3 * 4)
    assert np.isfinite(loss)
    assert rows.shape == (4, 3, 16, 24, 1)  # time to the right
    hidden = np.asarray(rows)[:, 1] == 0.5
    assert 0.5 <= hidden.mean() < 0.7  # grey patches, and the mean behind a clip


REFUSED = {
    "rate": {"rate": 0},
    "mean": {"mean": (0.0, 0.0)},
    "std": {"std": (0.0,)},
    "stretch": {"stretch": (1.2, 0.8)},
    "masked_bands": {"masked_bands": (3,)},
    "changes": {"changes": {"louder": 3}},
    "mix": {"changes": {"mix": 1.0}},
}


@pytest.mark.parametrize("options", REFUSED.values(), ids=REFUSED)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(UserError, match=r"augment\."):
        SpectrogramViews(**{"rate": RATE, "frames": 10} | options)


def test_a_wave_that_was_never_scaled_is_refused():
    for wave in (np.full(10, 3000.0), np.array([0.0, np.nan])):
        with pytest.raises(UserError, match="a wave reaches"):
            WaveViews(RATE).check([{"wave": wave}])
