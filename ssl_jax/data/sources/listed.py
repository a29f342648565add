"""Pictures that a text file names, one a line, with their labels if it has them."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.sources.arrays import HASH_ROWS, spread
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.folder import head
from ssl_jax.data.sources.names import Names
from ssl_jax.data.sources.pictures import EncodedPictures
from ssl_jax.errors import UserError

NONE = -1  # the label of a record without one
_SEPARATORS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True, eq=False)
class FileList(EncodedPictures):
    """The pictures that `file` names: `image` uint8 [size, size, channels] and, if it says labels, `label` int32.

    A text file has a path a line, and after a tab its label, if it has one. A `.csv` file (`.tsv` with tabs) has a header with
    `path` and perhaps `label`. Paths are relative to `root`. Labels are whole numbers, or names, which are numbered in
    their order; a record without one has -1.

    Args:
      file: the list. Its order is that of the records.
      root: the folder that paths start from; None: the one that the list lies in.
      class_names: names of the classes in the order of their numbers; None: those that the list has, if they are no numbers.
      size, channels, max_pixels, pixels: as in `EncodedPictures`.

    Raises:
      UserError: no such file, no lines, a header without `path`, or labels that are neither all numbers nor all names.
    """

    file: str | Path
    root: str | Path | None = None
    class_names: Sequence[str] | None = None
    classes: tuple[str, ...] = field(init=False, repr=False)
    _names: Names = field(init=False, repr=False)
    _labels: np.ndarray | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        names, texts = _read(Path(self.file))
        classes, labels = numbered(texts, self.class_names, Path(self.file))
        object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "_names", names)
        object.__setattr__(self, "_labels", labels)
        self._look()

    def __len__(self) -> int:
        return len(self._names)

    def encoded(self, index: int) -> Record:
        """Record `index` with the bytes of its file as `image`."""
        image = files.read(self._path(index))
        return {"image": image} | ({} if self._labels is None else {"label": np.asarray(self._labels[index])})

    def values(self, name: str) -> np.ndarray | None:
        """All labels [N], which need no reading; None for other fields."""
        return self._labels.copy() if name == "label" and self._labels is not None else None

    def name_of(self, index: int) -> str:
        """The path of a record as the list has it."""
        return self._names[index]

    def fingerprint(self) -> str:
        """SHA-256 of the options, all paths and labels, and size and first 64 kB of (evenly spread) 4,096 files at most."""
        digest = self._digest()
        digest.update(self._names.joined())
        digest.update(repr(self.classes).encode() + (b"" if self._labels is None else self._labels.tobytes()))
        for i in spread(len(self), HASH_ROWS):
            digest.update(head(self._path(int(i))))
        return digest.hexdigest()

    def _path(self, index: int) -> str:
        root = Path(self.file).parent if self.root is None else self.root
        return os.path.join(root, self._names[index])


def _read(file: Path) -> tuple[Names, list[str] | None]:
    """The paths, and the labels as they stand there ("" where a line has none), None where no line has any."""
    try:
        text = files.read(file).decode("utf-8", "surrogateescape")
    except (OSError, ValueError) as error:
        raise UserError(
            f"no list at {str(file)!r} ({error}); give a text file of paths, or a .csv with a header"
        ) from error
    text = text.removeprefix("\ufeff")  # a byte order mark
    rows = list(_table(text, file) if file.suffix in _SEPARATORS else _lines(text))
    if not rows:
        raise UserError(f"{str(file)!r} names no pictures; write a path a line")
    labels = [label for _, label in rows]
    return Names.of([path for path, _ in rows]), labels if any(labels) else None


def _lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.split("\n"):
        path, _, label = line.removesuffix("\r").partition("\t")
        if path.strip():
            yield path, label.strip()


def _table(text: str, file: Path) -> Iterator[tuple[str, str]]:
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=_SEPARATORS[file.suffix])
    try:
        if "path" not in (rows.fieldnames or ()):
            told = ", ".join(rows.fieldnames or ()) or "nothing"
            raise UserError(
                f"{str(file)!r} begins with {told[:200]}; its first line names the columns, path and perhaps label"
            )
        yield from ((row["path"], (row.get("label") or "").strip()) for row in rows if row["path"])
    except csv.Error as error:
        raise UserError(f"{str(file)!r} is no table ({error}); write it again, or a path a line in a .txt") from error


def numbered(
    texts: list[str] | None, said: Sequence[str] | None, file: Path
) -> tuple[tuple[str, ...], np.ndarray | None]:
    """The names of the classes and the labels int32 [N], -1 where there is none."""
    if texts is None:
        return tuple(said or ()), None
    numbers = [_is_number(text) for text in texts if text]
    if all(numbers) and not said:
        return (), _as_numbers(texts, file)
    if any(numbers) and not said:
        odd = next(text for text in texts if text and not _is_number(text))
        raise UserError(
            f"{str(file)!r} has labels that are numbers, and {odd[:80]!r}; write all as one or all as the other"
        )
    classes = tuple(said or sorted({text for text in texts if text}))
    number = {name: place for place, name in enumerate(classes)} | {"": NONE}
    unknown = next((text for text in texts if text not in number), None)
    if unknown is not None:
        raise UserError(
            f"{str(file)!r} has the label {unknown[:80]!r}, which is none of the classes {', '.join(classes)[:200]}"
        )
    return classes, np.array([number[text] for text in texts], np.int32)


def _is_number(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit()


def _as_numbers(texts: list[str], file: Path) -> np.ndarray:
    numbers = [int(text) if text and len(text) < 12 else (2**31 if text else NONE) for text in texts]
    wrong = next((text for text, number in zip(texts, numbers, strict=True) if not NONE <= number < 2**31), None)
    if wrong is not None:
        raise UserError(f"{str(file)!r} has the label {wrong[:80]!r}; labels are from 0 to 2^31 - 1, or -1 for none")
    return np.array(numbers, np.int32)
