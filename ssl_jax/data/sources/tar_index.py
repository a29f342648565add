"""Where each file of each record lies in a tar archive in WebDataset's layout, found once and kept as a file.

WebDataset (https://github.com/webdataset/webdataset): files that have a name in common up to the first dot are one record,
and stand next to each other; what follows that dot says what they hold.
"""

from __future__ import annotations

import itertools
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.data.sources.names import Names
from ssl_jax.data.sources.tar_members import Member, ReadAt, members

LABEL = "cls"
ABSENT, NO_NUMBER = -1, -2  # labels of records without one, and with one that is no whole number
_SUFFIXES = 64  # kinds of files in an archive
_LABEL_BYTES = 32


class Index(NamedTuple):
    """An archive of n records with files of s kinds.

    keys: the names of all records.
    suffixes: the kinds, `jpg`, `cls`, `json`, in the order in which they appear.
    places: int64 [n, s, 2], offset and size of each file; -1 where there is none.
    labels: int32 [n], what the files `cls` hold; -1 where there is none, -2 where it is no whole number.
    odd: sentences on members that are no files of a record.
    """

    keys: Names
    suffixes: tuple[str, ...]
    places: np.ndarray
    labels: np.ndarray
    odd: tuple[str, ...]

    @property
    def records(self) -> int:
        """How many there are."""
        return len(self.labels)

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
    keys, labels, odd = _Keys(), array("i"), _Odd()
    found = tuple(array("q") for _ in range(4))  # record, suffix, offset, size of each file
    for key, files in itertools.groupby(_plain(members(read, size), odd), lambda member: split(member.name)[0]):
        held = _files(key, files)
        for suffix, member in held.items():
            number = suffixes.setdefault(suffix, len(suffixes))
            for column, value in zip(found, (len(labels), number, member.offset, member.size), strict=True):
                column.append(value)
        if len(suffixes) > _SUFFIXES:
            raise ValueError(
                f"more than {_SUFFIXES} kinds of files ({', '.join(list(suffixes)[:3])}, ...): the first dot "
                "of a name is where its suffix begins; rename files that have dots before"
            )
        keys.add(key)
        labels.append(_label(read, held.get(LABEL)))
    places = _places(len(labels), len(suffixes), found)
    index = Index(keys.names(), tuple(suffixes), places, _array(labels, np.int32), odd.told())
    _require_together(index)
    return index


def arrays(index: Index, stamp: str) -> dict[str, np.ndarray]:
    """An index as arrays, to be kept. `stamp` says of which archive it is."""
    head = json.dumps({"stamp": stamp, "suffixes": index.suffixes, "odd": index.odd}).encode()
    columns = {"places": index.places, "labels": index.labels}
    return {"head": np.frombuffer(head, np.uint8), "blob": index.keys.blob, "ends": index.keys.ends} | columns


def from_arrays(kept: Mapping[str, np.ndarray], stamp: str, size: int) -> Index | None:
    """The index that `arrays` took apart, of the archive of `size` bytes with that stamp; None for anything else."""
    try:
        head = json.loads(kept["head"].tobytes())
        suffixes, odd = tuple(map(str, head["suffixes"])), tuple(map(str, head["odd"]))
        index = Index(Names(kept["blob"], kept["ends"]), suffixes, kept["places"], kept["labels"], odd)
        return index if head["stamp"] == stamp and _is_sound(index, size) else None
    except (LookupError, TypeError, ValueError, RecursionError):  # whatever lies in the place of what was written
        return None


def _is_sound(index: Index, size: int) -> bool:
    """Whether an index, which may come from anywhere, only names bytes of an archive of that size."""
    n, places, labels = len(index.keys), index.places, index.labels
    if not index.keys.is_sound() or (places.dtype, labels.dtype) != (np.int64, np.int32):
        return False
    if places.shape != (n, len(index.suffixes), 2) or labels.shape != (n,) or not n:
        return False
    offsets, sizes = places[..., 0], places[..., 1]
    inside = (offsets == -1) | ((offsets >= 0) & (sizes >= 0) & (sizes <= size) & (offsets <= size - sizes))
    return bool(inside.all() and (labels >= NO_NUMBER).all())


class _Keys:
    """Collects names in the memory that their letters take."""

    def __init__(self) -> None:
        self.blob, self.ends = bytearray(), array("q")

    def add(self, name: str) -> None:
        """One more."""
        self.blob += name.encode("utf-8", "surrogateescape") + b"\n"
        self.ends.append(len(self.blob) - 1)

    def names(self) -> Names:
        """All of them."""
        return Names(_array(self.blob, np.uint8), _array(self.ends, np.int64))


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
    hashes = np.fromiter((hash(index.keys[row]) for row in range(index.records)), np.int64, index.records)
    order = np.argsort(hashes, kind="stable")
    again = np.flatnonzero(np.diff(hashes[order]) == 0)
    for first, second in zip(order[again], order[again + 1], strict=True):
        if index.keys[int(first)] == index.keys[int(second)]:
            raise ValueError(
                f"the files of {index.keys[int(first)]!r} do not stand next to each other; write it in the order of names"
            )
