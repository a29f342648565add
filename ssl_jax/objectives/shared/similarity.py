"""Similarities of a batch for people."""

from __future__ import annotations

import numpy as np
from jax import Array

from ssl_jax.data.panels import Pictures

_CELL = 12  # pixels of a side


def similarities(u: Array, v: Array, rows: str, columns: str) -> Pictures:
    """A grey picture of the cosines of unit vectors `u` and `v` [B, D]: black for the smallest of them, white for the largest."""
    cosines = np.asarray(u, np.float32) @ np.asarray(v, np.float32).T
    low, high = float(cosines.min()), float(cosines.max())
    shades = (cosines - low) / max(high - low, 1e-6)
    cells = shades.repeat(_CELL, axis=0).repeat(_CELL, axis=1)[None, None, :, :, None]
    note = f"Cosines from {low:.2f} (black) to {high:.2f} (white). Partners are on the diagonal."
    return Pictures(cells, (f"{rows} in rows, {columns} in columns",), note)
