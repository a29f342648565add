"""Labels of the records of a file, all of them in a file of numbers beside it: `x.array_record` and `x.labels.npy`."""

from __future__ import annotations

import numpy as np

from ssl_jax.errors import UserError

LABELS = ".labels.npy"


def labels_beside(path: str, suffix: str, count: int) -> np.ndarray | None:
    """The labels int32 [count] of the records of a file that ends in `suffix`, -1 where there is none; None without such a file.

    UserError for a file of something else.
    """
    try:
        labels = load(path.removesuffix(suffix) + LABELS)
    except FileNotFoundError:
        return None
    if labels.shape != (count,) or labels.dtype != np.int32 or labels.min(initial=0) < -1:
        raise UserError(
            f"the labels beside {path!r} are {labels.dtype} {labels.shape}, and not int32 [{count}] from -1"
        )
    return labels


def load(path: str, mapped: bool = False) -> np.ndarray:
    """An array file, perhaps mapped into memory. UserError for what is none, FileNotFoundError where nothing is."""
    try:
        return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError:
        raise
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path!r} cannot be read as an array ({error}); prepare it again") from error
