"""Signals that can be heard, as the bytes of small wav files for players in a page."""

from __future__ import annotations

import io
import wave

import numpy as np

from ssl_jax.data.panels import Panel, Signals

HEARD = 8  # signals of a panel
LONGEST = 4.0  # seconds of each
_LOWEST = 4000  # samples a second, below which there is nothing to hear


def heard(panel: Panel) -> tuple[bytes, ...]:
    """The first column of a panel of sounds, a wav for each row: 16 bits, mono, as loud as can be. () for anything else."""
    if not isinstance(panel, Signals) or panel.unit != "second" or panel.rate < _LOWEST:
        return ()
    rows = np.asarray(panel.rows, np.float32)[:HEARD, 0, : int(LONGEST * panel.rate)]
    return tuple(wav(row if row.ndim == 1 else row.mean(axis=1), round(panel.rate)) for row in rows)


def wav(samples: np.ndarray, rate: int) -> bytes:
    """A wave [T] as a wav file of 16 bits, its largest sample at full scale."""
    sound = np.nan_to_num(samples)
    scaled = np.round(32767 * sound / max(float(np.abs(sound).max(initial=0)), 1e-6)).astype("<i2")
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(scaled.tobytes())
    return held.getvalue()
