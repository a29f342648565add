"""Records held as columns: one array per field, all with the same leading axis."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.image import pixels as pixel_ranges
from ssl_jax.data.sources.base import Record
from ssl_jax.errors import UserError

_HASH_ALL = 64 << 20  # bytes up to which a fingerprint reads everything
HASH_ROWS = 4096  # rows that it reads of anything larger


class Columns:
    """Base of sources whose records are rows of arrays. A frozen dataclass calls `_set` in its `__post_init__`.

    `source[i]` is row `i` of every column; `source.batch(ids)` gathers many rows at once, which is what makes small
    records cheap. Both copy, so a caller may write into what it gets.

    An `image` of other integers than uint8 is delivered as floats in [0, 1]: what is black and white is decided once, from
    the range of the column, and told in `notes`. Labels that are all -1 are none: the field is left out.
    """

    columns: dict[str, np.ndarray]
    classes: Sequence[str]
    notes: tuple[str, ...]
    scale: pixel_ranges.Range | None
    _checks: Sequence[Callable[[], None]]

    def _set(
        self,
        columns: Mapping[str, np.ndarray],
        classes: Sequence[str],
        limit: int | None,
        pixels: Sequence[float] | None = None,
        checks: Sequence[Callable[[], None]] = (),
    ) -> None:
        """Check and keep the columns. Labels become int32; a single sample axis is required of every column.

        `pixels` are the numbers of `image` that are black and white, if they are given; `checks` run before every read.
        """
        sizes = {name: len(column) if column.ndim else None for name, column in columns.items()}
        if not sizes or len(set(sizes.values())) != 1 or None in sizes.values():
            raise UserError(f"fields must be arrays with one common number of records; found {sizes}")
        if limit is not None and limit < 1:
            raise UserError(f"limit={limit} leaves no records; use a number of at least 1, or None for all of them")
        columns = {name: _plain(name, column[:limit]) for name, column in columns.items()}
        if not len(next(iter(columns.values()))):
            raise UserError(f"the fields {sorted(columns)} hold no records; give arrays with at least one row")
        if "label" in columns and not labelled(columns["label"]):
            del columns["label"]
            if not columns:
                raise UserError(
                    "all labels are -1, and there is no other field; name one that says what the records are"
                )
        if "label" in columns:
            columns["label"] = check_labels(columns["label"], len(classes) or None)
        scale = _scale(columns["image"], pixels) if "image" in columns else None
        notes = () if scale is None else (scale.note(str(columns["image"].dtype)),)
        named = {"columns": columns, "classes": tuple(classes), "notes": notes, "scale": scale, "_checks": checks}
        for name, value in named.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        self._checked()
        return self._scaled({name: np.array(column[index]) for name, column in self.columns.items()})

    def batch(self, ids: np.ndarray) -> Record:
        """The records `ids` [B], each field stacked to [B, ...]."""
        self._checked()
        return self._scaled({name: np.take(np.asarray(column), ids, axis=0) for name, column in self.columns.items()})

    def values(self, name: str) -> np.ndarray | None:
        """All values of a field [N, ...], or None where there is no such field."""
        return self.columns.get(name)

    def _checked(self) -> None:
        for check in self._checks:
            check()

    def _scaled(self, record: Record) -> Record:
        return record if self.scale is None else record | {"image": self.scale.unit(record["image"])}

    def fingerprint(self) -> str:
        """SHA-256 of names, dtypes, shapes and values (of evenly spread rows only, above 64 MB)."""
        digest = hashlib.sha256()
        for name, column in sorted(self.columns.items()):
            digest.update(f"{name} {column.dtype.str} {column.shape}\n".encode())
            if column.nbytes > _HASH_ALL:
                column = column[spread(len(column), HASH_ROWS)]
            digest.update(np.ascontiguousarray(column).data)
        if self.scale is not None:
            digest.update(f"pixels {self.scale}\n".encode())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Arrays(Columns):
    """Arrays in memory or files: `Arrays({"image": x, "label": y})`, `Arrays({"image": "x.npy"})`, `Arrays("x.npz")`.

    Args:
      arrays: field -> array or path of a `.npy` file (memory-mapped), or the path of one `.npz` file.
      fields: field -> name inside the `.npz`, e.g. `{"image": "x_train"}`; by default every array under its own name.
      classes: names of the classes; labels are then checked to be in [0, len(classes)).
      num_classes: the same check where there are no names.
      limit: keep only the first so many records.
      pixels: which numbers of `image` are black and white, e.g. (0, 255) for floats up to 255. Without it uint8 and floats
        are taken as they are, and other integers by their range.

    An `image` field [N, H, W] gets a channel axis. Nothing else is assumed about the fields. Files that hold Python
    objects are refused, since reading them would run pickled code.

    Raises:
      UserError: no such file or name, fields of different lengths, or labels out of range.
    """

    arrays: Mapping[str, Any] | str | Path = field(repr=False)
    fields: Mapping[str, str] = field(default_factory=dict)
    classes: Sequence[str] = ()
    num_classes: int | None = None
    limit: int | None = None
    pixels: Sequence[float] | None = None

    def __post_init__(self) -> None:
        checks = []
        if isinstance(self.arrays, str | Path):
            columns = read_npz(Path(self.arrays), self.fields)
        else:
            named = {new: self.arrays[old] for new, old in self.fields.items()} if self.fields else self.arrays
            columns = {k: _read_npy(Path(v)) if isinstance(v, str | Path) else np.asarray(v) for k, v in named.items()}
            checks = [files.uncut(v) for v in named.values() if isinstance(v, str | Path)]
        if "image" in columns and columns["image"].ndim == 3:
            columns["image"] = columns["image"][..., None]
        if "label" in columns and self.num_classes is not None:
            check_labels(columns["label"], self.num_classes)
        self._set(columns, self.classes, self.limit, self.pixels, checks)


def spread(count: int, most: int) -> np.ndarray:
    """At most `most` of the places 0..count-1, evenly spread, with both ends. What a cheap fingerprint looks at."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def labelled(labels: np.ndarray) -> bool:
    """Whether any of `labels` [N] is one; data sets write -1 where there is none."""
    return labels.dtype.kind not in "i" or labels.ndim != 1 or not np.all(labels == -1)


def check_labels(labels: np.ndarray, num_classes: int | None) -> np.ndarray:
    """`labels` [N] as int32, after checking that they are whole numbers in [0, num_classes).

    Raises:
      UserError: naming the first offending value and its index.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(f"labels must be whole numbers of shape [N]; found {labels.dtype} {labels.shape}")
    top = np.iinfo(np.int32).max if num_classes is None else num_classes - 1
    wrong = np.flatnonzero((labels < 0) | (labels > top))
    if len(wrong):
        raise UserError(
            f"label {labels[wrong[0]]} of record {wrong[0]} is outside [0, {top + 1}) ({len(wrong)} such records); "
            f"correct the labels or the number of classes"
        )
    return labels.astype(np.int32)


def check_split(split: str, known: Sequence[str]) -> None:
    """Raise a `UserError` unless `split` is one of `known`."""
    if split not in known:
        raise UserError(f"split={split!r} is not a split of this data set; use one of {', '.join(known)}")


def _plain(name: str, column: np.ndarray) -> np.ndarray:
    """`column` as numbers in native byte order, which is what a device takes."""
    if column.dtype.kind not in "biuf":
        raise UserError(f"field {name!r} has dtype {column.dtype}; keep only numeric fields (see the option `fields`)")
    return column if column.dtype.isnative else column.astype(column.dtype.newbyteorder("="))


def _scale(images: np.ndarray, pixels: Sequence[float] | None) -> pixel_ranges.Range | None:
    """How `images` [N, ...] become floats in [0, 1]; None where they are uint8 or floats and nothing else is said."""
    if pixels is not None:
        return pixel_ranges.said(pixels)
    if images.dtype == np.uint8 or images.dtype.kind == "f" or images.ndim < 3:
        return None
    seen = images if images.nbytes <= _HASH_ALL else images[spread(len(images), HASH_ROWS)]
    return pixel_ranges.of_integers(int(seen.min()), int(seen.max()))


def read_npz(path: Path, fields: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file by the names of `fields`, or all of them under their own. UserError for what is none."""
    archive = _load(path)
    if isinstance(archive, np.ndarray):
        raise UserError(f"{str(path)!r} is a single array; say which field it is: {{'image': {str(path)!r}}}")
    with archive:
        missing = [name for name in fields.values() if name not in archive.files]
        if missing:
            raise UserError(f"{str(path)!r} has no array {missing[0]!r}; it has {', '.join(archive.files)}")
        names = fields or {name: name for name in archive.files}
        return {new: _guard(path, lambda old=old: archive[old]) for new, old in names.items()}


def _read_npy(path: Path) -> np.ndarray:
    array = _load(path, "r")
    if not isinstance(array, np.ndarray):
        array.close()
        raise UserError(f"{str(path)!r} holds several arrays; give the .npz alone and say which in `fields`")
    return array


def _load(path: Path, mmap_mode: Literal["r"] | None = None) -> Any:
    if not path.is_file():
        raise UserError(f"no array file at {str(path)!r}; give the path of a .npy or .npz file")
    return _guard(path, lambda: np.load(path, mmap_mode=mmap_mode, allow_pickle=False))


def _guard(path: Path, read: Any) -> Any:
    """`read()`, with what numpy raises about damaged or pickled files said in one message."""
    try:
        return read()
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{str(path)!r} cannot be read as plain numpy arrays ({error}); "
            f"save it again with np.save or np.savez, with no object arrays"
        ) from error
