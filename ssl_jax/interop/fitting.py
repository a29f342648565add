"""Arrays of one encoder in the places of another: as they are, resized where that has a meaning, or refused with a list."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.models.grid import Grid, resize_tokens, sides
from ssl_jax.models.vit import INTERPOLATION_OFFSET

Shapes = Mapping[str, tuple[int, ...]]
# What an encoder may lack, since it starts as well without: methods that hide patches have it, others do not.
SPARE = ("mask_token",)
SHOWN = 8


class Grids(NamedTuple):
    """Patches along each axis, before and here; None where nobody says: a square."""

    before: Grid | None = None
    here: Grid | None = None


UNKNOWN = Grids()


class Report(NamedTuple):
    """What became of a file: names of our arrays that were loaded as they are, that were resized (with both shapes), that start
    anew, that the encoder here has no place for; and names in the file that were left, of the encoder and beside it."""

    loaded: tuple[str, ...]
    resized: tuple[str, ...]
    new: tuple[str, ...]
    unused: tuple[str, ...]
    left_over: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    def told(self) -> str:
        """In one line."""
        beside = f"; beside it, not needed: {some(self.beside, 3)}" if self.beside else ""
        return (
            f"{len(self.loaded)} arrays loaded; resized: {some(self.resized)}; new: {some(self.new)}; "
            f"left over: {some((*self.unused, *self.left_over))}{beside}"
        )

    @property
    def lacking(self) -> tuple[str, ...]:
        """What starts anew though an encoder cannot do without."""
        return tuple(name for name in self.new if name.rpartition("/")[2] not in SPARE)

    @property
    def lost(self) -> tuple[str, ...]:
        """What the file has of its encoder and this one has no place for."""
        return (*(name for name in self.unused if name.rpartition("/")[2] not in SPARE), *self.left_over)


def refuse_partial(report: Report, what: str, remedy: str) -> None:
    """UserError where something of the encoder starts anew or is lost."""
    lines = [f"  not in the file: {name}" for name in report.lacking] + [
        f"  no place here: {name}" for name in report.lost
    ]
    if lines:
        more = f"\n  and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        raise UserError(f"{what} and the encoder here differ:\n" + "\n".join(lines[:SHOWN]) + f"{more}\n{remedy}")


def fitted(
    arrays: Mapping[str, np.ndarray], wanted: Shapes, grids: Grids = UNKNOWN, patch: Any = 1
) -> tuple[dict[str, np.ndarray], Report]:
    """The arrays that have a place in `wanted`, in its shapes, and the report. UserError for sizes that are of another model."""
    shared = [path for path in wanted if path in arrays]
    values = {path: resized(path, arrays[path], tuple(wanted[path]), grids, patch) for path in shared}
    changed = [path for path in shared if arrays[path].shape != tuple(wanted[path])]
    if wrong := [path for path in shared if values[path] is None]:
        lines = [f"  {path}: there {list(arrays[path].shape)}, here {list(wanted[path])}" for path in wrong]
        more = f"\n  and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        raise UserError("sizes of the encoder differ:\n" + "\n".join(lines[:SHOWN]) + more)
    told = tuple(f"{path} {list(arrays[path].shape)} to {list(wanted[path])}" for path in changed)
    report = Report(
        tuple(path for path in shared if path not in changed), told, tuple(p for p in wanted if p not in arrays),
        tuple(p for p in arrays if p not in wanted),
    )  # fmt: skip
    return {path: x for path, x in values.items() if x is not None}, report


def resized(path: str, x: np.ndarray, shape: tuple[int, ...], grids: Grids, patch: Any) -> np.ndarray | None:
    """An array in another shape: positions resampled, a patch embedding for other channels; None for any other change."""
    if x.shape == shape:
        return x
    if x.ndim != 2 or len(shape) != 2 or x.shape[1] != shape[1]:
        return None
    if path.endswith("positions"):
        return resampled(x, grids.before or square(len(x)), grids.here or square(shape[0]), shape[0])
    if path.endswith("patch_embed/kernel"):
        return other_channels(x, math.prod(sides(patch)), shape[0])
    return None


def square(rows: int) -> Grid | None:
    """A square of so many patches, if there is one."""
    side = math.isqrt(rows)
    return (side, side) if side * side == rows else None


def resampled(table: np.ndarray, before: Grid | None, here: Grid | None, rows: int) -> np.ndarray | None:
    """Positions [N, D] on another grid, as the encoder resamples them for another resolution."""
    if before is None or here is None or len(before) != len(here):
        return None
    if math.prod(before) != len(table) or math.prod(here) != rows:
        return None
    return np.asarray(resize_tokens(jnp.asarray(table, jnp.float32), before, here, INTERPOLATION_OFFSET)).astype(
        table.dtype
    )


def other_channels(kernel: np.ndarray, window: int, rows: int) -> np.ndarray | None:
    """A patch embedding [window x C, D] for K channels: those of C in turn where K is a multiple of it, else their mean for each,
    times C / K, so that inputs alike in all channels give what they gave."""
    if kernel.shape[0] % window or rows % window:
        return None
    before, here = kernel.shape[0] // window, rows // window
    apart = kernel.reshape(window, before, -1)
    each = apart if here % before == 0 else apart.mean(axis=1, keepdims=True)
    return (each[:, np.arange(here) % each.shape[1]] * (before / here)).reshape(rows, -1).astype(kernel.dtype)


def grid_here(module: Any, size: tuple[int, ...] | None, rows: int) -> Grid | None:
    """The grid of an encoder's positions: its own option, that of images of a known size, or None."""
    own = getattr(module, "grid", None)
    if own:
        return tuple(own)
    patch = getattr(module, "patch", None)
    if size is None or patch is None or len(size) != len(sides(patch)):
        return None
    grid = tuple(n // p for n, p in zip(size, sides(patch), strict=True))
    return grid if math.prod(grid) == rows else None


def some(names: Iterable[str], most: int = SHOWN) -> str:
    """The first of some names, and how many more there are."""
    names = tuple(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "") or "none"
