"""Where the parts of pairs lie: files beside one another, the lines of a table, or the members of tar archives.

Rows say which columns they have, and give what stands in them: paths and texts of a table; files, by their suffixes, elsewhere.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.sources import shards
from ssl_jax.data.sources.arrays import HASH_ROWS, spread
from ssl_jax.data.sources.folder import head
from ssl_jax.data.sources.shards import Shard
from ssl_jax.data.sources.tar import index_of
from ssl_jax.data.sources.text_files import JsonLines
from ssl_jax.data.sources.text_parquet import ParquetTexts
from ssl_jax.data.sources.texts import Texts, decoded
from ssl_jax.errors import UserError

Fields = Mapping[str, Any]
LISTS = {".jsonl": JsonLines, ".ndjson": JsonLines, ".parquet": ParquetTexts}
TABLES = {".csv": ",", ".tsv": "\t"}
_TAR = ".tar"


class Rows(Protocol):
    """Items and what each has. `data` and `texts` say what a value of a row is, as bytes and as texts."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns that there are."""
        ...

    def __len__(self) -> int:
        """How many items."""
        ...

    def row(self, index: int) -> Fields:
        """The values of one, by column; those that it lacks are not there. ValueError for what cannot be read."""
        ...

    def data(self, value: Any) -> bytes:
        """The picture, sound or clip that a value stands for. ValueError or OSError where it is none."""
        ...

    def texts(self, value: Any) -> list[str]:
        """The texts that a value stands for."""
        ...

    def name_of(self, index: int) -> str:
        """What a person calls the item."""
        ...

    def fingerprint(self) -> str:
        """SHA-256 in hex."""
        ...


@dataclass(frozen=True, eq=False)
class Listed:
    """The lines of a table: paths are relative to `root`; a list of texts is several."""

    lines: Any
    root: str

    @property
    def columns(self) -> Sequence[str]:
        """The columns of the first lines."""
        return self.lines.has

    def __len__(self) -> int:
        return len(self.lines)

    def row(self, index: int) -> Fields:
        """What a line has; empty cells are left out."""
        return {name: value for name, value in self.lines.raw(index).items() if value not in (None, "", [])}

    def data(self, value: Any) -> bytes:
        """The bytes themselves (Parquet has them as `{"bytes": ...}`), or those of the file that is named."""
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str):
            raise ValueError(f"{str(value)[:40]!r} is no path of a file")
        try:
            return files.read(os.path.join(self.root, value))
        except FileNotFoundError as error:
            raise ValueError(
                f"{value!r} is named there, and is no file in {self.root!r}: there are more lines than files, or root= is "
                "another folder"
            ) from error

    def texts(self, value: Any) -> list[str]:
        """One text, or those of a list."""
        return [_text(one) for one in (value if isinstance(value, list | tuple) else [value])]

    def name_of(self, index: int) -> str:
        """Where the line stands."""
        return self.lines.name_of(index)

    def fingerprint(self) -> str:
        """That of the table: the files are told by their paths."""
        return self.lines.fingerprint()


@dataclass(frozen=True, eq=False)
class Table:
    """A `.csv` or `.tsv` whose first line names its columns, in memory."""

    file: str

    @functools.cached_property
    def rows(self) -> list[dict[str, str]]:
        """All of them. UserError for what is no table."""
        try:
            text = decoded(files.read(self.file)).removeprefix("\ufeff")
            found = csv.DictReader(io.StringIO(text, newline=""), delimiter=TABLES[Path(self.file).suffix])
            rows = [{k: v for k, v in row.items() if isinstance(k, str) and isinstance(v, str)} for row in found]
        except (OSError, ValueError, csv.Error) as error:
            raise UserError(f"{self.file!r} cannot be read as a table ({error}); write it again, in UTF-8") from error
        if not rows:
            raise UserError(f"{self.file!r} has no lines below its first, which names the columns")
        return rows

    @property
    def has(self) -> Sequence[str]:
        """The columns."""
        return tuple(self.rows[0])

    def __len__(self) -> int:
        return len(self.rows)

    def raw(self, index: int) -> Fields:
        """One line."""
        return self.rows[index]

    def name_of(self, index: int) -> str:
        """Its number, that of the first line is 1."""
        return f"{os.path.basename(self.file)} line {index + 2}"

    def fingerprint(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(files.read(self.file)).hexdigest()


@dataclass(frozen=True, eq=False)
class Beside:
    """Files in a folder, at any depth, that have a name in common up to their last dot: `x.jpg`, `x.txt`, `x.wav`.

    An item has a file with one of the suffixes `first`; others without one are left out, and counted in `note`.
    """

    root: str
    first: tuple[str, ...]

    @functools.cached_property
    def _all(self) -> dict[str, set[str]]:
        """Suffixes by the name without one, sorted."""
        found: dict[str, set[str]] = {}
        for folder, folders, names in os.walk(self.root):
            folders.sort()
            for name in names:
                stem, suffix = os.path.splitext(os.path.join(folder, name))
                found.setdefault(os.path.relpath(stem, self.root), set()).add(suffix[1:])
        return dict(sorted(found.items()))

    @functools.cached_property
    def items(self) -> list[tuple[str, list[str]]]:
        """Name and suffixes of each. UserError where there is none."""
        found = [(stem, sorted(kinds)) for stem, kinds in self._all.items() if _lower(kinds) & set(self.first)]
        if not found:
            raise UserError(
                f"{self.root!r} holds no files that end in {', '.join(self.first)}; give the folder that does"
            )
        return found

    @property
    def columns(self) -> Sequence[str]:
        """The suffixes of all items, in lower case."""
        return tuple(sorted(set().union(*(_lower(kinds) for _, kinds in self.items))))

    @property
    def note(self) -> str:
        """How many files stand alone."""
        alone = len(self._all) - len(self.items)
        return (
            f"left out {alone} files in {self.root} that stand beside none of {', '.join(self.first)}" if alone else ""
        )

    def __len__(self) -> int:
        return len(self.items)

    def row(self, index: int) -> Fields:
        """The paths of its files by suffix."""
        stem, kinds = self.items[index]
        return {kind.lower(): os.path.join(self.root, f"{stem}.{kind}") for kind in kinds}

    def data(self, value: Any) -> bytes:
        """The content of a file."""
        return files.read(value)

    def texts(self, value: Any) -> list[str]:
        """The lines of a file."""
        return decoded(files.read(value)).splitlines()

    def name_of(self, index: int) -> str:
        """Its path without a suffix."""
        return self.items[index][0]

    def fingerprint(self) -> str:
        """SHA-256 of all names, and size and first 64 kB of the files of (evenly spread) 4,096 at most."""
        digest = hashlib.sha256(repr(self.items).encode("utf-8", "surrogateescape"))
        for i in spread(len(self), HASH_ROWS):
            for path in self.row(int(i)).values():
                digest.update(head(path))
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Archived:
    """Records of tar archives in WebDataset's layout, which have a file with one of the suffixes `first`; read in place."""

    files: str
    first: tuple[str, ...]

    @functools.cached_property
    def shards(self) -> tuple[Shard, ...]:
        """The archives."""
        return shards.find(self.files, _TAR, "tar archives, as in pairs:/shards/{0000..0123}.tar")

    @functools.cached_property
    def _indices(self) -> list[Any]:
        return [index_of(shard) for shard in self.shards]

    @functools.cached_property
    def _rows(self) -> list[np.ndarray]:
        return [np.flatnonzero(_held(index, self.first)) for index in self._indices]

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """The number of the first record of each archive, and of all. UserError where there is none."""
        starts = np.cumsum([0, *map(len, self._rows)])
        if not starts[-1]:
            raise UserError(f"{self.files!r} holds no files that end in {', '.join(self.first)}; its files end in "
                            f"{', '.join(self.columns)}")  # fmt: skip
        return starts

    @property
    def columns(self) -> Sequence[str]:
        """The suffixes of all files."""
        return tuple(sorted({suffix for index in self._indices for suffix in index.suffixes}))

    def __len__(self) -> int:
        return int(self.starts[-1])

    def row(self, index: int) -> Fields:
        """Where its files lie, by suffix."""
        shard, row = self._place(index)
        places = {suffix: self._indices[shard].place(row, suffix) for suffix in self._indices[shard].suffixes}
        return {suffix: (shard, *place) for suffix, place in places.items() if place}

    def data(self, value: Any) -> bytes:
        """The content of a file."""
        shard, offset, size = value
        return shards.read_at(self.shards[shard], offset, size)

    def texts(self, value: Any) -> list[str]:
        """The lines of a file."""
        return decoded(self.data(value)).splitlines()

    def name_of(self, index: int) -> str:
        """The archive, and the name there."""
        shard, row = self._place(index)
        return f"{self.shards[shard].name}/{self._indices[shard].keys[row]}"

    def fingerprint(self) -> str:
        """SHA-256 of names, sizes and both ends of the archives, and the names and places of their files."""
        digest = hashlib.sha256(repr(self.first).encode())
        shards.see(digest, self.shards)
        for index in self._indices:
            digest.update(repr(index.suffixes).encode() + index.keys.blob.tobytes() + index.places.tobytes())
        return digest.hexdigest()

    def _place(self, index: int) -> tuple[int, int]:
        place = shards.place_of(self.starts, index)
        return place.shard, int(self._rows[place.shard][place.row])


def rows_of(path: str, root: str | None, first: tuple[str, ...]) -> Rows:
    """The rows that a path stands for: a table by its suffix, archives, or a folder of any of them or of files side by side."""
    path = path if "://" in path else os.path.abspath(os.path.expanduser(path))
    inside = _in_folder(path) if os.path.isdir(path) else path
    suffix = Path(inside).suffix
    if suffix == _TAR:
        return Archived(inside, first)
    if suffix in TABLES or suffix in LISTS:
        return Listed(_lines(inside, suffix), os.path.dirname(inside) if root is None else root)
    if os.path.isdir(path):
        return Beside(path, first)
    known = ", ".join([*TABLES, *LISTS, _TAR])
    raise UserError(f"no pairs at {path!r}; give a folder of files side by side, or what ends in {known}")


def reading(rows: Rows, columns: Sequence[str]) -> Rows:
    """`rows` of which only some columns are read, where that is cheaper."""
    if isinstance(rows, Listed) and isinstance(rows.lines, ParquetTexts):
        return replace(rows, lines=replace(rows.lines, text=",".join(columns)))
    return rows


def _lines(path: str, suffix: str) -> Table | Texts:
    return Table(path) if suffix in TABLES else LISTS[suffix](path, text="", label="")


def _in_folder(path: str) -> str:
    """The tables or archives of a folder, as a pattern; the folder itself where there are none."""
    names = sorted(entry.name for entry in os.scandir(path) if entry.is_file())
    for suffix in (_TAR, *LISTS):
        if any(name.endswith(suffix) for name in names):
            return os.path.join(path, f"*{suffix}")
    tables = [name for name in names if Path(name).suffix in TABLES]
    return os.path.join(path, tables[0]) if len(tables) == 1 else path


def _held(index: Any, suffixes: tuple[str, ...]) -> np.ndarray:
    columns = [index.suffixes.index(s) for s in suffixes if s in index.suffixes]
    return (index.places[:, columns, 0] >= 0).any(1)


def _lower(kinds: Iterable[str]) -> set[str]:
    return {kind.lower() for kind in kinds}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:40]!r} is no text")
    value.encode()  # half a surrogate pair, which JSON can say, is an error here
    return value
