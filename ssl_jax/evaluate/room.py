"""Where features are put while they are made: in memory, or beyond a GiB in a file that is memory-mapped."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

Room = Callable[[Any, tuple[int, ...]], np.ndarray]  # the name of a result and its shape [N, ...] -> float32 array
_LARGE = 2**30  # bytes
_ROWS = 4096  # that are moved at a time


def in_memory(name: Any, shape: tuple[int, ...]) -> np.ndarray:
    """An array of that shape; a large one is mapped to a temporary file without a name, which goes when the array does."""
    if 4 * math.prod(shape) < _LARGE:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float32, "w+", shape=shape)


def only(x: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The rows of `x` [N, ...] that are `valid`, moved to its front where some are not."""
    if valid.all():
        return x
    wanted = np.flatnonzero(valid)
    for start in range(0, len(wanted), _ROWS):
        rows = wanted[start : start + _ROWS]
        x[start : start + len(rows)] = x[rows]
    return x[: len(wanted)]
