"""Signals that can be heard become small wav files, and a page plays what it holds itself."""

import io

import numpy as np
import soundfile

from ssl_jax.data.panels import Pictures, Signals
from ssl_jax.report.charts import Picture
from ssl_jax.report.html import document
from ssl_jax.report.panels.sound import heard
from ssl_jax.report.sections import gallery


def test_rows_of_sounds_can_be_played_and_other_panels_cannot():
    rows = np.random.default_rng(0).normal(0, 0.1, (3, 2, 8000)).astype(np.float32)
    sounds = heard(Signals(rows, rate=8000, unit="second"))
    assert len(sounds) == 3
    wave, rate = soundfile.read(io.BytesIO(sounds[1]), dtype="float32")
    assert rate == 8000
    np.testing.assert_allclose(wave, rows[1, 0] / np.abs(rows[1, 0]).max(), atol=1e-4)
    assert heard(Signals(rows, rate=100, unit="second")) == ()
    assert heard(Signals(rows, rate=8000)) == ()
    assert heard(Pictures(np.zeros((1, 1, 4, 4, 1)))) == ()
    page = document("t", "", gallery([Picture("waves", b"\x89PNG", "a wave", sounds=sounds)]))
    assert page.count("<audio controls") == 3
    assert "media-src data:" in page
    assert "data:audio/wav;base64,UklGR" in page
