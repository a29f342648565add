"""Recordings that a table names, with their labels."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.sources.audio_files import AudioFiles
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.listed import numbered
from ssl_jax.data.sources.names import Names
from ssl_jax.errors import UserError

Table = dict[str, list[str]]


@dataclass(frozen=True, eq=False)
class AudioList(AudioFiles):
    """The recordings that a `.csv` names (`.tsv` with tabs): `wave` float32 [T], `valid` bool [T], `label` int32 and others.

    As a string, `audio_list:/sounds/list.csv?label=kit`. The first line names the columns, `path` among them; paths start from
    `root`. Labels are whole numbers, or names, which are numbered in their order; an empty one is -1.

    Args:
      file: the table. Its order is that of the records.
      root: the folder that paths start from; None: the one that the table lies in.
      label: the column that becomes `label`; "" for none.
      columns: further columns that become labels under their names.
      class_names: names of the classes in the order of their numbers; None: those that the table has.
      rate, seconds, channels, windows, seed: as in `AudioFiles`.

    Raises:
      UserError: no such file or column, a line with other columns than the first, or labels that are neither numbers nor names.
    """

    file: str | Path
    root: str | Path | None = None
    label: str = "label"
    columns: Sequence[str] = ()
    class_names: Sequence[str] | None = None
    _names: Names = field(init=False, repr=False)
    _labels: dict[str, np.ndarray] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        table = read_table(Path(self.file))
        wanted = [name for name in (self.label, *self.columns) if name]
        missing = [name for name in wanted if name not in table]
        if missing:
            raise UserError(
                f"{str(self.file)!r} has no column {missing[0]!r}; it has {', '.join(table)}: set label or columns"
            )
        said = {self.label: self.class_names}
        found = {name: numbered(table[name], said.get(name), Path(self.file)) for name in wanted}
        arrays = {_field(name, self.label): labels for name, (_, labels) in found.items() if labels is not None}
        object.__setattr__(self, "classes", found[self.label][0] if self.label else ())
        object.__setattr__(self, "labels", {name: found[name][0] for name in self.columns})
        object.__setattr__(self, "_names", Names.of(table["path"]))
        object.__setattr__(self, "_labels", arrays)
        self._note()

    @property
    def paths(self) -> Names:
        """The paths as the table has them."""
        return self._names

    def place(self, file: int) -> str:
        """Where a file lies."""
        return os.path.join(Path(self.file).parent if self.root is None else self.root, self._names[file])

    def labels_of(self, file: int) -> Record:
        """`label` and the fields of `columns`."""
        return {name: np.asarray(labels[file]) for name, labels in self._labels.items()}

    def values(self, name: str) -> np.ndarray | None:
        """All labels [N], which need no reading; None for other fields."""
        return self._spread(self._labels[name]) if name in self._labels else None


def _field(column: str, label: str) -> str:
    return "label" if column == label else column


def read_table(file: Path) -> Table:
    """The columns of a `.csv` or `.tsv`, `path` among them. UserError for what is none, or has a line of another length."""
    try:
        text = files.read(file).decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    except (OSError, ValueError) as error:
        raise UserError(f"no table at {str(file)!r} ({error}); give a .csv with a header, path and labels") from error
    try:
        header, *rows = list(
            csv.reader(io.StringIO(text, newline=""), delimiter="\t" if file.suffix == ".tsv" else ",")
        ) or [[]]
    except csv.Error as error:
        raise UserError(f"{str(file)!r} is no table ({error}); write it again") from error
    rows = [row for row in rows if row]
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            told = f"line {number} has {len(row)} fields, and the first names {len(header)}"
            raise UserError(f"{str(file)!r}: {told}; mend it")
    if "path" not in header or not rows:
        told = ", ".join(header)[:200] or "nothing"
        raise UserError(f"{str(file)!r} begins with {told}; it needs a column path, and lines below")
    return {name: [row[place].strip() for row in rows] for place, name in enumerate(header)}
