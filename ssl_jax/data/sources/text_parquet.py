"""Texts in columns of Parquet files."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssl_jax.data.sources import shards
from ssl_jax.data.sources.parquet import GROUPS, rows_of, schema_of
from ssl_jax.data.sources.shards import Shard
from ssl_jax.data.sources.texts import Document, Fields, Part, Texts

_ROWS = 256  # of a row group that become Python's objects at a time


@dataclass(frozen=True, eq=False)
class ParquetTexts(Texts):
    """Columns of Parquet files: `ParquetTexts("/hf/*.parquet", text="body")`; `parquet_text:/hf/*.parquet?text=body`.

    Needs `pip install ssl_jax[hf]`. Row groups are read whole, and some kept, as `Parquet` does.

    Args:
      files: a path, a folder, or a pattern.
      text, label, score, tokenizer, length, query_length: as in `Texts`.

    Raises:
      UserError: no such files or columns, or files that are damaged.
    """

    files: str | Path

    @functools.cached_property
    def shards(self) -> tuple[Shard, ...]:
        """The files."""
        return shards.find(self.files, ".parquet", "Parquet files, as in parquet_text:/hf/*.parquet")

    @functools.cached_property
    def groups(self) -> list[tuple[int, int, int]]:
        """Shard, number and records of each row group."""
        return [(s, g, rows) for s, shard in enumerate(self.shards) for g, rows in enumerate(rows_of(shard))]

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """The number of the first record of each row group, and of all."""
        return np.cumsum([0, *(rows for _, _, rows in self.groups)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def raw(self, index: int) -> Fields:
        """The columns of record `index` that are asked for."""
        place = shards.place_of(self.starts, index)
        return self._rows(place.shard, place.row, place.row + 1)[0]

    def parts(self, size: int) -> list[Part]:
        """Row groups, one each: they are what can be read apart."""
        return [Part(i, i + 1, 0, rows) for i, (_, _, rows) in enumerate(self.groups)]

    def documents(self, part: Part) -> Iterator[Document]:
        """The records of a row group."""
        first = int(self.starts[part.first])
        for row in range(part.start, part.stop, _ROWS):
            for i, read in enumerate(self._read(part.first, row, min(row + _ROWS, part.stop)), first + row):
                fields, reason = (read, "") if isinstance(read, dict) else (None, str(read))
                yield Document(self.name_of(i), fields, reason)

    def name_of(self, index: int) -> str:
        """The file of a record, its row group, and its number there."""
        place = shards.place_of(self.starts, index)
        shard, group, _ = self.groups[place.shard]
        return f"{self.shards[shard].name} group {group} row {place.row}"

    def fingerprint(self) -> str:
        """SHA-256 of the options, and names, sizes, counts and both ends of the files."""
        digest = self._digest()
        digest.update(f"{self.starts.tolist()}\n".encode())
        shards.see(digest, self.shards)
        return digest.hexdigest()

    def _rows(self, group: int, first: int, last: int) -> list[Fields]:
        shard, number, _ = self.groups[group]
        return GROUPS.table(self.shards[shard], number, self._columns).slice(first, last - first).to_pylist()

    def _read(self, group: int, first: int, last: int) -> list[Fields | ValueError]:
        """Records of a row group, and for those that cannot be read why."""
        try:
            return [*self._rows(group, first, last)]
        except ValueError as error:
            if last - first == 1:
                return [error]
            return [read for row in range(first, last) for read in self._read(group, row, row + 1)]

    @functools.cached_property
    def has(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(schema_of(self.shards[0]).names)

    @functools.cached_property
    def _columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(dict.fromkeys([*self.names.values(), *filter(None, (self.label_field, self.score))]))
