"""Codebooks that are fitted to data before a run: k-means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ssl_jax.data.augment import Batch
from ssl_jax.errors import UserError

ROWS_PER_CODE = 64  # more are thinned out


def fitted_codebook(rows: np.ndarray, codes: int, seed: int = 0) -> np.ndarray:
    """`codes` centres float32 [codes, D] of `rows` [R, D] by k-means in small batches (Sculley 2010), the same for the same rows.

    UserError where there are fewer different rows than codes.
    """
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    chosen = np.random.default_rng(seed).permutation(len(rows))[: ROWS_PER_CODE * codes]
    rows = np.asarray(rows, np.float32)[chosen]
    different = len(np.unique(rows, axis=0))
    if different < codes:
        raise UserError(
            f"{codes} codes were asked for, and the records that were looked at have {different} different rows; use fewer "
            "codes, or look at more records (objective.fit_records)"
        )
    with threadpool_limits(1):  # sums in one order, whatever machine this is
        found = MiniBatchKMeans(codes, batch_size=max(1024, 4 * codes), n_init=1, random_state=seed).fit(rows)
    return np.asarray(found.cluster_centers_, np.float32)


def vectors_of(seen: Callable[[Batch], Any], records: Batch, at_once: int = 256) -> np.ndarray:
    """The vectors [R, D] that `seen` makes [n, N, D] of records, so many at once."""
    count, made = len(next(iter(records.values()))), jax.jit(seen)
    parts = [made({k: x[i : i + at_once] for k, x in records.items()}) for i in range(0, count, at_once)]
    return np.concatenate([np.asarray(x).reshape(-1, x.shape[-1]) for x in parts])


def arrays_like(path: str, tree: dict) -> dict:
    """The arrays of a safetensors file by their paths ("a/b"), as a tree like `tree`.

    UserError for a file that cannot be read, or whose names or shapes are others.
    """
    from flax.traverse_util import flatten_dict, unflatten_dict
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"objective.weights={path!r} is no safetensors file that can be read: {error}") from error
    wanted = {name: tuple(x.shape) for name, x in flatten_dict(tree, sep="/").items()}
    if wanted != (shapes := {name: x.shape for name, x in found.items()}):
        raise UserError(f"objective.weights={path!r} holds {shapes}, and the tokenizer needs {wanted}")
    return dict(unflatten_dict(found, sep="/"))
