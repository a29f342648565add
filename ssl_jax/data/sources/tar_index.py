"""Where each file of each record lies in a tar archive in WebDataset's layout, found once and kept as a file.

WebDataset (https://github.com/webdataset/webdataset): files that have a name in common up to the first dot are one record,
and stand next to each other; what follows that dot says what they hold.
"""

from __future__ import annotations

import io
import itertools
import json
from array import array
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.data.sources.tar_members import Member, ReadAt, members

LABEL = "cls"
ABSENT, NO_NUMBER = -1, -2  # labels of records without one, and with one that is no whole number
_FORMAT = "ssl_jax tar index 1"
_SUFFIXES = 64  # kinds of files in an archive
_LABEL_BYTES = 32


class Index(NamedTuple):
    """An archive of n records with files of s kinds.

    keys: the names of all records as UTF-8, one after another; name i ends at ends[i].
    ends: int64 [n].
    suffixes: the kinds, `jpg`, `cls`, `json`, in the order in which they appear.
    places: int64 [n, s, 2], offset and size of each file; -1 where there is none.
    labels: int32 [n], what the files `cls` hold; -1 where there is none, -2 where it is no whole number.
    odd: sentences on members that are no files of a record.
    """

    keys: np.ndarray
    ends: np.ndarray
    suffixes: tuple[str, ...]
    places: np.ndarray
    labels: np.ndarray
    odd: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ends)

    def key(self, row: int) -> str:
        """The name of a record."""
        start = self.ends[row - 1] if row else 0
        return self.keys[start : self.ends[row]].tobytes().decode("utf-8", "surrogateescape")

    def place(self, row: int, suffix: str) -> tuple[int, int] | None:
        """Offset and size of a record's file of some kind; None where it has none."""
        if suffix not in self.suffixes:
            return None
        offset, size = self.places[row, self.suffixes.index(suffix)]
        return None if offset < 0 else (int(offset), int(size))


def split(name: str) -> tuple[str, str]:
    """`a/b.c/x.seg.PNG` -> `a/b.c/x`, `seg.png`; no suffix for files that belong to no record."""
    folder, slash, base = name.rpartition("/")
    key, dot, suffix = base.partition(".")
    return (folder + slash + key, suffix.lower()) if key and dot else (name, "")


def build(read: ReadAt, size: int) -> Index:
    """The index of an archive. ValueError for archives that are damaged or not in that layout."""
    suffixes: dict[str, int] = {}
    keys, ends, labels, odd = bytearray(), array("q"), array("i"), _Odd()
    found = tuple(array("q") for _ in range(4))  # record, suffix, offset, size of each file
    for key, files in itertools.groupby(_plain(members(read, size), odd), lambda member: split(member.name)[0]):
        places = _files(key, files)
        for suffix, member in places.items():
            number = suffixes.setdefault(suffix, len(suffixes))
            for column, value in zip(found, (len(ends), number, member.offset, member.size), strict=True):
                column.append(value)
        if len(suffixes) > _SUFFIXES:
            raise ValueError(
                f"more than {_SUFFIXES} kinds of files ({', '.join(list(suffixes)[:3])}, ...): the first dot "
                "of a name is where its suffix begins; rename files that have dots before"
            )
        keys += key.encode("utf-8", "surrogateescape")
        ends.append(len(keys))
        labels.append(_label(read, places.get(LABEL)))
    index = Index(
        _array(keys, np.uint8),
        _array(ends, np.int64),
        tuple(suffixes),
        _places(len(ends), len(suffixes), found),
        _array(labels, np.int32),
        odd.told(),
    )
    _require_together(index)
    return index


def dump(index: Index, stamp: str) -> bytes:
    """An index as a file: a line of JSON, and arrays as numpy writes them. `stamp` says of which archive it is."""
    file = io.BytesIO()
    head = {"format": _FORMAT, "stamp": stamp, "suffixes": index.suffixes, "odd": index.odd}
    file.write(json.dumps(head).encode() + b"\n")
    for column in (index.keys, index.ends, index.places, index.labels):
        np.save(file, column, allow_pickle=False)
    return file.getvalue()


def load(data: bytes, stamp: str, size: int) -> Index | None:
    """The index that `dump` wrote of the archive of `size` bytes with that stamp; None for anything else."""
    file = io.BytesIO(data)
    try:
        head = json.loads(file.readline())
        if (head["format"], head["stamp"]) != (_FORMAT, stamp):
            return None
        keys, ends, places, labels = (np.load(file, allow_pickle=False) for _ in range(4))
        index = Index(keys, ends, tuple(map(str, head["suffixes"])), places, labels, tuple(map(str, head["odd"])))
        return index if _is_sound(index, size) else None
    except Exception:  # numpy, JSON and whatever lies in the place of what was written
        return None


def _is_sound(index: Index, size: int) -> bool:
    """Whether an index, which may come from anywhere, only names bytes of an archive of that size."""
    n, s = len(index.ends), len(index.suffixes)
    kinds = [
        (index.keys, np.uint8, 1),
        (index.ends, np.int64, 1),
        (index.places, np.int64, 3),
        (index.labels, np.int32, 1),
    ]
    if not all(x.dtype == dtype and x.ndim == ndim for x, dtype, ndim in kinds):
        return False
    if index.places.shape != (n, s, 2) or index.labels.shape != (n,) or not n:
        return False
    offsets, sizes = index.places[..., 0], index.places[..., 1]
    inside = (offsets == -1) | ((offsets >= 0) & (sizes >= 0) & (sizes <= size) & (offsets <= size - sizes))
    ordered = np.all(np.diff(index.ends, prepend=0) >= 0) and index.ends[-1] <= len(index.keys)
    return bool(inside.all() and ordered and (index.labels >= NO_NUMBER).all())


class _Odd:
    """Counts members that are no files of a record, with the first of each kind."""

    def __init__(self) -> None:
        self.kinds: dict[str, list[Any]] = {}

    def add(self, kind: str, name: str) -> None:
        """One more."""
        self.kinds.setdefault(kind, [0, name])[0] += 1

    def told(self) -> tuple[str, ...]:
        """A sentence for each kind."""
        return tuple(
            f"{count} names {kind}, {name[:100]!r} first" for kind, (count, name) in sorted(self.kinds.items())
        )


def _plain(found: Iterable[Member], odd: _Odd) -> Iterator[Member]:
    """The files that belong to records."""
    for member in found:
        if member.odd:
            odd.add(f"left out that are {member.odd}", member.name)
        elif not split(member.name)[1]:
            odd.add("left out that have no suffix", member.name)
        else:
            if member.name.startswith("/") or ".." in member.name.split("/"):
                odd.add("that lead out of a folder (they are only read as names: nothing is extracted)", member.name)
            yield member


def _files(key: str, found: Iterable[Member]) -> dict[str, Member]:
    files: dict[str, Member] = {}
    for member in found:
        if files.setdefault(split(member.name)[1], member) is not member:
            raise ValueError(f"it holds {member.name!r} twice")
    return files


def _label(read: ReadAt, member: Member | None) -> int:
    if member is None:
        return ABSENT
    text = read(member.offset, member.size).strip() if member.size <= _LABEL_BYTES else b""
    number = int(text) if text.removeprefix(b"-").isdigit() and len(text) < 11 else NO_NUMBER
    return number if ABSENT <= number < 2**31 else NO_NUMBER


def _places(records: int, suffixes: int, found: tuple[array, ...]) -> np.ndarray:
    places = np.full((records, suffixes, 2), -1, np.int64)
    record, suffix, offset, size = (_array(column, np.int64) for column in found)
    places[record, suffix] = np.stack([offset, size], -1)
    return places


def _array(column: Any, dtype: Any) -> np.ndarray:
    return np.frombuffer(bytes(column), dtype)


def _require_together(index: Index) -> None:
    """ValueError where the files of one record do not stand next to each other, so that they look like several."""
    hashes = np.fromiter((hash(index.key(row)) for row in range(len(index))), np.int64, len(index))
    order = np.argsort(hashes, kind="stable")
    again = np.flatnonzero(np.diff(hashes[order]) == 0)
    for first, second in zip(order[again], order[again + 1], strict=True):
        if index.key(first) == index.key(second):
            raise ValueError(
                f"the files of {index.key(first)!r} do not stand next to each other; write it in the order of names"
            )
