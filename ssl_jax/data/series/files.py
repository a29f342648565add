"""Files of series by their names: `.ts`, `.csv`, `.npz` and `.parquet` -> recordings."""

from __future__ import annotations

import glob
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.series import tables, ts_format
from ssl_jax.data.series.recordings import Recording, classes_of
from ssl_jax.data.sources import shards
from ssl_jax.data.sources.arrays import read_npz
from ssl_jax.errors import UserError

SUFFIXES = (".ts", ".csv", ".npz", ".parquet")


class Found(NamedTuple):
    """All recordings of some files, and the names of their classes (() for numbers)."""

    recordings: list[Recording]
    classes: tuple[str, ...]


def find(pattern: str) -> tuple[shards.Shard, ...]:
    """The files that a path or a pattern names; of a folder those of a known format. UserError for none."""
    what = f"files of series ({', '.join(SUFFIXES)}), as in series:/data/*.csv"
    if not os.path.isdir(pattern):
        found = shards.find(pattern, "", what)
        shards.require_local(found, "series")
        return found
    inside = sorted(path for path in glob.glob(f"{glob.escape(pattern)}/*") if path.lower().endswith(SUFFIXES))
    if not inside:
        raise UserError(f"the folder {pattern!r} holds none; name {what}")
    return shards.of(inside)


def read(path: str, roles: tables.Roles) -> Found:
    """The recordings of one file. UserError for what is of no known format, or not what its name says."""
    reader = _READERS.get(Path(path).suffix.lower())
    if reader is None:
        raise UserError(f"{path!r}: series are read from {', '.join(SUFFIXES)}; write the file again as one of them")
    return reader(path, roles)


def _ts(path: str, roles: tables.Roles) -> Found:
    found = ts_format.parsed(_text(path), Path(path).name)
    return Found(found.recordings, found.classes or classes_of(found.recordings))


def _csv(path: str, roles: tables.Roles) -> Found:
    name = Path(path).name
    return _named(tables.recordings_of(tables.rows_of_csv(_bytes(path), name), name, roles))


def _npz(path: str, roles: tables.Roles) -> Found:
    """`series` [N, T, C] or [N, T]; with `valid` of that shape or `length` [N], `label` [N], `anomaly` [N, T] where they are."""
    arrays, name = read_npz(Path(path), {}), Path(path).name
    series = _numeric(arrays.get("series", np.zeros(0)), name)
    values = series[..., None] if series.ndim == 2 else series.copy()
    if values.ndim != 3 or any(
        len(arrays[k]) != len(values) for k in ("valid", "length", "label", "anomaly") if k in arrays
    ):
        shapes = ", ".join(f"{key} {list(x.shape)}" for key, x in arrays.items())
        raise UserError(f"{path!r} holds {shapes}; it needs series [N, T, C] or [N, T], and others [N, ...] beside it")
    if "valid" in arrays:
        values[~arrays["valid"].astype(bool).reshape(values.shape)] = np.nan
    labels, marks = arrays.get(roles.label or tables.LABEL), arrays.get(roles.marks or tables.MARKS[0])
    sizes = arrays.get("length", np.full(len(values), values.shape[1]))
    return _named([
        Recording(f"{name}[{i}]", values[i, : sizes[i]], None if labels is None else labels[i].item(),
                  None if marks is None else marks[i, : sizes[i]] > 0)
        for i in range(len(values))
    ])  # fmt: skip


def _parquet(path: str, roles: tables.Roles) -> Found:
    """A table of steps; or one of recordings, where the column `series` holds lists."""
    from ssl_jax.data.sources.parquet import opened

    table, name = opened(shards.of([path])[0]).read(), Path(path).name
    columns = {column: table.column(column) for column in table.column_names}
    if "series" not in columns or "list" not in str(columns["series"].type):
        plain = {column: np.asarray(x) if x.null_count == 0 else x.to_pylist() for column, x in columns.items()}
        return _named(tables.recordings_of(plain, name, roles))
    labels = columns[roles.label or tables.LABEL].to_pylist() if (roles.label or tables.LABEL) in columns else None
    rows = enumerate(columns["series"].to_pylist())
    return _named([Recording(f"{name}[{i}]", _listed(row, name, i), labels[i] if labels else None) for i, row in rows])


def _listed(row: Any, name: str, index: int) -> np.ndarray:
    try:
        values = np.array(row, np.float32)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{name!r}: the series of row {index} is no list of numbers, or of lists of one length"
        ) from error
    return values[:, None] if values.ndim == 1 else values


def _named(recordings: list[Recording]) -> Found:
    return Found(recordings, classes_of(recordings))


def _numeric(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise UserError(f"{name!r}: series holds {array.dtype}, and numbers are needed")
    return array.astype(np.float32)


def _bytes(path: str) -> bytes:
    try:
        return files.read(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path!r} cannot be read: {error}") from error


def _text(path: str) -> str:
    try:
        return io.TextIOWrapper(io.BytesIO(_bytes(path)), "utf-8-sig").read()
    except UnicodeDecodeError as error:
        raise UserError(f"{path!r} is no text (byte {error.start} is no UTF-8)") from error


_READERS: dict[str, Callable[[str, tables.Roles], Found]] = {
    ".ts": _ts,
    ".csv": _csv,
    ".npz": _npz,
    ".parquet": _parquet,
}
