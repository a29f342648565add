"""Records in Parquet files in Hugging Face's layout, read at random by their row groups."""

from __future__ import annotations

import functools
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.data import stores
from ssl_jax.data.sources import shards
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.fields import chosen, label_of, require
from ssl_jax.data.sources.pictures import EncodedPictures
from ssl_jax.data.sources.shards import Shard
from ssl_jax.errors import UserError

_KEPT = 256 << 20  # bytes of row groups that are kept in memory, all sources of a process together
_LARGEST = 2 << 30  # bytes of one row group
_BATCH = 16  # records that are decoded at a time, so that a row group that expands is noticed


class Columns(NamedTuple):
    """The columns of a data set by their use, and the names of classes; None for what there is none of."""

    image: str
    label: str | None
    texts: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Parquet(EncodedPictures):
    """Pictures in Parquet files: `Parquet("/hf/data/train-*.parquet", size=256)`. Needs `pip install ssl_jax[hf]`.

    The layout is that of Hugging Face's `datasets`: a column of structs {bytes, path} or of bytes holds encoded pictures, one
    of whole numbers the labels, whose names the file's metadata gives. A picture that is only a path is a bad record: files
    outside are not opened. The file's row groups are read whole, and 256 MiB of them kept: where they are large,
    `ssl-jax data prepare` once makes reading at random far faster, and `notes` say so.

    Args:
      files: a path, a folder, or a pattern such as `/hf/*.parquet`.
      image_key: the column of pictures; None: the one that is said to be, or is called `image` or `img`.
      label_key: the column of labels; None: the one that is said to be, or is called `label`; "" for none.
      fields: further record fields, `{"text": "caption"}`; others are left out.
      size, channels, max_pixels, pixels: as in `EncodedPictures`.

    Where only some records have a label, it is -1 for the others.

    Raises:
      UserError: no such files or columns, files that are damaged, cut short or of different columns.
    """

    files: str
    image_key: str | None = None
    label_key: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = field(init=False, repr=False)
    shards: tuple[Shard, ...] = field(init=False, repr=False)
    groups: tuple[tuple[int, int], ...] = field(init=False, repr=False)
    starts: np.ndarray = field(init=False, repr=False)
    columns: Columns = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        found = shards.find(self.files, ".parquet", "Parquet files, as in parquet:/hf/*.parquet")
        columns = _columns(schema_of(found[0]), self.image_key, self.label_key, self.fields, found[0].name)
        for shard in found:
            require(schema_of(shard).names, [*filter(None, columns[:2]), *self.fields.values()], repr(shard.path))
        groups = [(s, g, rows) for s, shard in enumerate(found) for g, rows in enumerate(rows_of(shard))]
        object.__setattr__(self, "shards", found)
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "groups", tuple((s, g) for s, g, _ in groups))
        object.__setattr__(self, "starts", np.cumsum([0, *(rows for _, _, rows in groups)]))
        if not len(self):
            raise UserError(f"{self.files!r} holds no records; name Parquet files that hold some")
        object.__setattr__(self, "classes", columns.classes or self._names())
        self._look(self._notes())

    def __len__(self) -> int:
        return int(self.starts[-1])

    def encoded(self, index: int) -> Record:
        """Record `index` with the bytes of its picture."""
        row = self._row(index, (*filter(None, self.columns[:2]), *self.fields.values()))
        image = row[self.columns.image]
        image = image.get("bytes") if isinstance(image, dict) else image
        if not isinstance(image, bytes):
            raise ValueError("the record holds no bytes of a picture; a path alone is not followed")
        label = {"label": label_of(row[self.columns.label], self.classes)} if self.columns.label else {}
        return {"image": image} | label | chosen(row, self.fields)

    def texts(self, index: int) -> dict[str, str]:
        """The texts of record `index` by column."""
        return {name: text for name, text in self._row(index, self.columns.texts).items() if text is not None}

    def values(self, name: str) -> np.ndarray | None:
        """All labels [N], which are read without the pictures; None for other fields, and where some are no labels."""
        if name != "label" or not self.columns.label:
            return None
        with suppress(Exception):  # what is wrong with it, reading says of each record
            return np.array([label_of(value, self.classes) for value in self._column(self.columns.label)], np.int32)
        return None

    def name_of(self, index: int) -> str:
        """The file of a record and its number there."""
        place = shards.place_of(self.starts, index)
        shard, group = self.groups[place.shard]
        return f"{self.shards[shard].name}[{index - self.starts[place.shard - group]}]"

    def fingerprint(self) -> str:
        """SHA-256 of the options and columns, and names, sizes, counts and both ends of the files."""
        digest = self._digest()
        digest.update(f"{self.columns} {self.fields} {self.classes} {self.starts.tolist()}\n".encode())
        shards.see(digest, self.shards)
        return digest.hexdigest()

    def _row(self, index: int, wanted: Sequence[str]) -> dict[str, Any]:
        place = shards.place_of(self.starts, index)
        shard, group = self.groups[place.shard]
        named = dict.fromkeys((*filter(None, self.columns[:2]), *self.columns.texts, *self.fields.values()))
        table = GROUPS.table(self.shards[shard], group, tuple(named))
        if table.num_rows != self.starts[place.shard + 1] - self.starts[place.shard]:
            raise ValueError(f"its row group holds {table.num_rows} records, and other numbers are said")
        return {name: table.column(name)[place.row].as_py() for name in wanted}

    def _column(self, name: str) -> list[Any]:
        return [value for shard in self.shards for value in opened(shard).read([name]).column(name).to_pylist()]

    def _names(self) -> tuple[str, ...]:
        """The classes where labels are texts: all that occur."""
        if not self.columns.label or self.columns.label not in _texts(schema_of(self.shards[0])):
            return ()
        return tuple(sorted({value for value in self._column(self.columns.label) if value is not None}))

    def _notes(self) -> list[str]:
        said = [f"pictures are in the column {self.columns.image!r}, labels in {self.columns.label!r}"]
        largest = max(opened(self.shards[s]).metadata.row_group(g).total_byte_size for s, g in self.groups[:1024])
        total = sum(shard.size for shard in self.shards)
        if total > _KEPT:
            said.append(
                f"row groups of up to {largest >> 20} MiB are read whole for each record in random order, and {_KEPT >> 20} "
                f"MiB of them kept; `ssl-jax data prepare` once makes files that are read by the record"
            )
        return said


class _Groups:
    """The row groups that were read last, as tables of Arrow. Safe to share between threads."""

    def __init__(self) -> None:
        self._tables: OrderedDict[tuple[Shard, int, tuple[str, ...]], Any] = OrderedDict()
        self._lock = threading.Lock()

    def table(self, shard: Shard, group: int, columns: tuple[str, ...]) -> Any:
        """One row group's columns."""
        key = (shard, group, columns)
        with self._lock:
            if key not in self._tables:
                self._tables[key] = _read(shard, group, columns)
                self._forget()
            self._tables.move_to_end(key)
            return self._tables[key]

    def _forget(self) -> None:
        """Drop the tables that were read first, all but the last at most, until the others fit."""
        while len(self._tables) > 1 and sum(table.nbytes for table in self._tables.values()) > _KEPT:
            self._tables.popitem(last=False)


GROUPS = _Groups()


def _read(shard: Shard, group: int, columns: tuple[str, ...]) -> Any:
    """A row group as a table. ValueError for one that is, or becomes, larger than 2 GiB."""
    import pyarrow

    parts, size = [], 0
    for batch in opened(shard).iter_batches(_BATCH, row_groups=[group], columns=list(columns)):
        parts.append(batch)
        size += batch.nbytes
        if size > _LARGEST:
            raise ValueError(f"row group {group} of {shard.path!r} has more than {_LARGEST} bytes")
    return pyarrow.Table.from_batches(parts)


@functools.lru_cache(maxsize=64)
def opened(shard: Shard) -> Any:
    """A file as `pyarrow.parquet.ParquetFile`. UserError where it is none, or pyarrow is not installed."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            f"Parquet files need pyarrow, which cannot be imported ({error}): pip install ssl_jax[hf]"
        ) from error
    shards.require_same(shard)
    try:
        return parquet.ParquetFile(stores.opened(shard.path) if shard.remote else shard.path)
    except Exception as error:  # Arrow's own classes
        raise UserError(
            f"{shard.path!r} cannot be read as a Parquet file ({str(error).splitlines()[0][:200]}); copy or write it again"
        ) from error


def schema_of(shard: Shard) -> Any:
    """The columns of a file and their types, as Arrow has them."""
    return opened(shard).schema_arrow


def rows_of(shard: Shard) -> list[int]:
    """How many records each row group holds, as the file says."""
    said = opened(shard).metadata
    rows = [said.row_group(g).num_rows for g in range(said.num_row_groups)]
    if any(n < 0 for n in rows) or sum(rows) >= 2**31:
        raise UserError(f"{shard.path!r} says that it holds {sum(rows)} records, which cannot be; write it again")
    return rows


def _columns(schema: Any, image: str | None, label: str | None, fields: Mapping[str, str], where: str) -> Columns:
    """What the columns of a file are for."""
    features = _features(schema)
    kinds = {name: said.get("_type") for name, said in features.items() if name in schema.names}
    images = [n for n, kind in kinds.items() if kind == "Image"] + [n for n in ("image", "img") if n in schema.names]
    labels = [n for n, kind in kinds.items() if kind == "ClassLabel"] + [
        n for n in ("label", "labels") if n in schema.names
    ]
    label = next(iter(labels), None) if label is None else label or None
    image = image or next(iter(images), "image")
    require(schema.names, [image, *filter(None, [label]), *fields.values()], repr(where))
    names = features.get(label or "", {}).get("names")
    return Columns(
        image,
        label,
        tuple(n for n in _texts(schema) if n not in (image, label)),
        tuple(map(str, names)) if isinstance(names, list) else (),
    )


def _texts(schema: Any) -> list[str]:
    return [f.name for f in schema if str(f.type) in ("string", "large_string")]


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """What `datasets` wrote of the columns; {} where it is no such thing."""
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        said = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: value for name, value in dict(said).items() if isinstance(value, dict)}
    return {}
