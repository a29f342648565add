"""Records in tar archives in WebDataset's layout, read in place: nothing is ever extracted."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ssl_jax.data import kept, stores
from ssl_jax.data.sources import shards, tar_index
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.fields import chosen, label_of
from ssl_jax.data.sources.pictures import EncodedPictures
from ssl_jax.data.sources.shards import Shard
from ssl_jax.data.sources.tar_index import ABSENT, LABEL, NO_NUMBER, Index
from ssl_jax.data.sources.tar_members import packed_as
from ssl_jax.errors import UserError

PICTURES = ("jpg", "jpeg", "png", "webp", "jfif", "avif", "bmp", "gif", "tif", "tiff", "ppm", "pgm")
_TEXTS = ("txt", "text", "caption", "json")
_KIND = "tar-1"


@dataclass(frozen=True, eq=False)
class Tar(EncodedPictures):
    """Pictures in tar archives: `Tar("/shards/{0000..0123}.tar", size=256)`.

    The layout is WebDataset's: files that have a name in common up to the first dot are a record (`7.jpg`, `7.cls`, `7.txt`,
    `7.json`). Records without a picture are left out, and told in `notes`. Archives are in the order of their names.

    Each archive is gone through once, for where its files lie; that is kept beside it, or in the user's cache where that
    cannot be written or lies in a store, and made again where the archive has changed.

    Args:
      files: a path, a folder, or a pattern such as `/shards/{0000..0123}.tar` or `/shards/train-*.tar`.
      label_key: the suffix of the files that hold labels as digits, or `json.` and a key of the JSON of a record; None for none.
      fields: further record fields, `{"text": "txt"}` or `{"text": "json.caption"}`; others are left out.
      classes: names in the order of the labels.
      size, channels, max_pixels, pixels: as in `EncodedPictures`.

    Where only some records have a label, it is -1 for the others; where none has, there is no such field.

    Raises:
      UserError: no such files, or one that is compressed, damaged, cut short, or without pictures.
    """

    files: str
    label_key: str | None = LABEL
    fields: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = field(default=(), kw_only=True)
    shards: tuple[Shard, ...] = field(init=False, repr=False)
    starts: np.ndarray = field(init=False, repr=False)
    labelled: bool = field(init=False, repr=False)
    _indices: tuple[Index, ...] = field(init=False, repr=False)
    _rows: tuple[np.ndarray, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        found = shards.find(self.files, ".tar", "tar archives, as in tar:/shards/{0000..0123}.tar")
        indices = tuple(map(index_of, found))
        rows = tuple(_with_picture(index) for index in indices)
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "shards", found)
        object.__setattr__(self, "_indices", indices)
        object.__setattr__(self, "_rows", rows)
        object.__setattr__(self, "starts", np.cumsum([0, *map(len, rows)]))
        if not len(self):
            kinds = sorted({suffix for index in indices for suffix in index.suffixes})
            raise UserError(
                f"{self.files!r} holds no pictures ({', '.join(PICTURES)}); its files end in {', '.join(kinds)}"
            )
        object.__setattr__(self, "labelled", self._has_labels())
        self._look(_notes(found, indices, rows))

    def __len__(self) -> int:
        return int(self.starts[-1])

    def encoded(self, index: int) -> Record:
        """Record `index` with the bytes of its picture."""
        shard, row = self._place(index)
        suffix = next(s for s in PICTURES if self._indices[shard].place(row, s))
        label = {"label": label_of(self._label(shard, row), self.classes)} if self.labelled else {}
        values = {old: self._value(shard, row, old) for old in self.fields.values()}
        return {"image": self._read(shard, row, suffix)} | label | chosen(values, self.fields)

    def texts(self, index: int) -> dict[str, str]:
        """The texts of record `index` by suffix."""
        shard, row = self._place(index)
        return {s: self._value(shard, row, s) for s in _TEXTS if self._indices[shard].place(row, s)}

    def values(self, name: str) -> np.ndarray | None:
        """All labels [N], where they are files of digits, all of them sound; None for other fields."""
        if name != "label" or not self.labelled or self.label_key != LABEL:
            return None
        labels = np.concatenate([index.labels[rows] for index, rows in zip(self._indices, self._rows, strict=True)])
        top = len(self.classes) or 2**31
        return labels if np.all((labels >= ABSENT) & (labels < top)) else None

    def name_of(self, index: int) -> str:
        """The archive of a record, and its name there."""
        shard, row = self._place(index)
        return f"{self.shards[shard].name}/{self._indices[shard].keys[row]}"

    def fingerprint(self) -> str:
        """SHA-256 of the options, and names, sizes and both ends of the archives and the names and places of their files."""
        digest = self._digest()
        digest.update(f"{self.label_key} {self.fields} {self.classes}\n".encode())
        shards.see(digest, self.shards)
        for index in self._indices:
            digest.update(repr(index.suffixes).encode() + index.keys.blob.tobytes() + index.places.tobytes())
        return digest.hexdigest()

    def _place(self, index: int) -> tuple[int, int]:
        place = shards.place_of(self.starts, index)
        return place.shard, int(self._rows[place.shard][place.row])

    def _read(self, shard: int, row: int, suffix: str) -> bytes:
        place = self._indices[shard].place(row, suffix)
        if place is None:
            raise ValueError(f"the record has no file .{suffix}")
        return shards.read_at(self.shards[shard], *place)

    def _value(self, shard: int, row: int, key: str | None) -> Any:
        """What a file of a record holds, as text; with `json.a.b`, what its JSON has there; None where there is no such file."""
        suffix, *path = (key or "").split(".") if (key or "").startswith("json.") else [key or ""]
        if self._indices[shard].place(row, suffix) is None:
            return None
        text = self._read(shard, row, suffix).decode()
        return _at(json.loads(text), path) if path else text.strip() if suffix == LABEL else text

    def _label(self, shard: int, row: int) -> Any:
        """What stands for the label of a record; that of its `.cls` is in the index, if it is a number."""
        kept = int(self._indices[shard].labels[row])
        return self._value(shard, row, self.label_key) if self.label_key != LABEL or kept == NO_NUMBER else kept

    def _has_labels(self) -> bool:
        if self.label_key is None or self.label_key.startswith("json."):
            return self.label_key is not None
        return any(
            (index.labels[rows] != ABSENT).any() for index, rows in zip(self._indices, self._rows, strict=True)
        ) or (self.label_key != LABEL and any(self.label_key in index.suffixes for index in self._indices))


def _at(value: Any, path: Sequence[str]) -> Any:
    """What stands in nested JSON objects at the keys `path`. KeyError where nothing does."""
    for key in path:
        if not isinstance(value, dict):
            raise KeyError(key)
        value = value[key]
    return value


def index_of(shard: Shard) -> Index:
    """The index of an archive: the one that is kept, or a new one, which is kept."""
    try:
        stamp = f"{shard.size} {shard.time} {hashlib.sha256(shards.ends(shard)).hexdigest()}"
        for arrays in kept.found(_KIND, shard.path, _beside(shard)):
            if (index := tar_index.from_arrays(arrays, stamp, shard.size)) is not None:
                return index
        read = functools.partial(shards.read_at, shard)
        index = tar_index.build(stores.in_blocks(read, shard.size) if shard.remote else read, shard.size)
    except (ValueError, OSError) as error:
        raise UserError(f"{shard.path!r} cannot be read as a tar archive: {_said(shard) or error}") from error
    if index.records:
        kept.write(_KIND, shard.path, tar_index.arrays(index, stamp), _beside(shard))
    return index


def _beside(shard: Shard) -> Path | None:
    return None if shard.remote else Path(shard.path).with_name(f".{shard.name}.ssl-jax-index.npz")


def _said(shard: Shard) -> str:
    kind = packed_as(shards.read_at(shard, 0, min(8, shard.size)))
    return kind and f"it is compressed ({kind}), which has no places to read from; unpack it once, to a plain .tar"


def _with_picture(index: Index) -> np.ndarray:
    """The rows of an index whose record has a picture."""
    columns = [index.suffixes.index(s) for s in PICTURES if s in index.suffixes]
    return np.flatnonzero((index.places[:, columns, 0] >= 0).any(1)) if columns else np.zeros(0, np.int64)


def _notes(found: Sequence[Shard], indices: Sequence[Index], rows: Sequence[np.ndarray]) -> list[str]:
    """What is left out of the archives: of each, up to a few."""
    told = [f"{shard.name}: {odd}" for shard, index in zip(found, indices, strict=True) for odd in index.odd]
    without = sum(index.records - len(r) for index, r in zip(indices, rows, strict=True))
    more = [f"... and {len(told) - 8} sentences more of this kind"] if len(told) > 8 else []
    return told[:8] + more + ([f"left out {without} records without a picture"] if without else [])
