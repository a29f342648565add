"""Is it as good for everyone? Accuracy of each group of records, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np

from ssl_jax.errors import UserError

LEAST = 30  # records below which nothing is said of a group
_Z = 1.959963984540054  # of the normal distribution: 95 %


def wilson(right: int, count: int, z: float = _Z) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927): it holds for few records, and for shares of 0 and 1."""
    share, room = right / count, z * z / count
    centre = (share + room / 2) / (1 + room)
    half = z / (1 + room) * np.sqrt(share * (1 - share) / count + room / (4 * count))
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def by_group(right: np.ndarray, groups: np.ndarray, least: int = LEAST) -> dict[str, Any]:
    """Accuracy of each group of records, the `worst` of them and the `gap` between best and worst.

    Args:
      right: bool [N], whether each record was classified rightly.
      groups: [N], the value of a column that makes the groups; any values that can be compared.
      least: groups of fewer records are named in `refused`, and count nowhere.

    Raises:
      UserError: no group has `least` records.
    """
    names, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    kept = [i for i, size in enumerate(sizes) if size >= least]
    if not kept:
        raise UserError(
            f"every group has fewer than {least} records (the largest, {names[sizes.argmax()]}, has {sizes.max()}); name a "
            "column with fewer values, or test on more records"
        )
    each = {str(names[i]): _of(right[place == i]) for i in kept}
    worst = min(each, key=lambda name: each[name]["accuracy"])
    low, high = each[worst]["accuracy"], max(group["accuracy"] for group in each.values())
    refused = {str(names[i]): int(size) for i, size in enumerate(sizes) if size < least}
    return {"worst": low, "worst_group": worst, "gap": high - low, "groups": each, "refused": refused}


def _of(right: np.ndarray) -> dict[str, Any]:
    count, hits = len(right), int(right.sum())
    return {"accuracy": hits / count, "interval": list(wilson(hits, count)), "n": count}
