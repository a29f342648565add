"""Probes on few labels: one measurement for each draw of the labels, and their mean and spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def over_draws(shots: Sequence[int], draws: int, measured: Callable[[int, int], dict[str, Any]]) -> dict[str, Any]:
    """`accuracy_<n>`, `std_<n>` and `draws_<n>` for each number of `shots`; `measured(n, draw)` has an `accuracy`."""
    result: dict[str, Any] = {}
    for n in shots:
        drawn = [measured(n, number) for number in range(draws)]
        values = [each["accuracy"] for each in drawn]
        result[f"accuracy_{n}"] = float(np.mean(values))
        result[f"std_{n}"] = float(np.std(values, ddof=1)) if draws > 1 else 0.0
        result[f"draws_{n}"] = drawn
    return result
