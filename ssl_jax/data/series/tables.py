"""Tables of series: a row for each step, a column for each channel, in csv and Parquet files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.data.series.recordings import Recording, number
from ssl_jax.errors import UserError

TIMES = ("time", "timestamp", "date", "datetime")  # columns that say when a row was, and are no channel
MARKS = ("anomaly", "is_anomaly")
LABEL = "label"


class Roles(NamedTuple):
    """Which columns are no channels: the `label` of a row, the `marks` of what is wrong, and `by` what rows are one recording; ""
    for the usual names (of `by`: none). `channels` names those that are, () for all others."""

    label: str = ""
    marks: str = ""
    by: str = ""
    channels: tuple[str, ...] = ()


def rows_of_csv(data: bytes, name: str) -> dict[str, list[str]]:
    """The columns of a csv by name; numbers where the first line is none of names. UserError for rows of different lengths."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{name!r} is no text (byte {error.start} is no UTF-8); give a csv") from error
    try:
        rows = [row for row in csv.reader(io.StringIO(text)) if row]
    except csv.Error as error:
        raise UserError(f"{name!r} is no csv: {error}") from error
    if not rows:
        raise UserError(f"{name!r} is empty; give a csv with a row for each step")
    first = rows[0] if any(not _is_number(word) for word in rows[0]) else [str(i) for i in range(len(rows[0]))]
    body = rows[first is rows[0] :]
    ragged = next((i for i, row in enumerate(body) if len(row) != len(first)), None)
    if ragged is not None:
        raise UserError(
            f"{name!r}: row {ragged + 1 + (first is rows[0])} has {len(body[ragged])} values and the first one {len(first)}; "
            "each row needs one value for each column, nothing between commas for one that is missing"
        )
    return {word.strip(): [row[i] for row in body] for i, word in enumerate(first)}


def recordings_of(columns: Mapping[str, Any], name: str, roles: Roles) -> list[Recording]:
    """The recordings of a table whose columns are sequences of numbers or words. UserError for a column that is no channel."""
    label = _role(columns, roles.label, (LABEL,), name)
    marks = _role(columns, roles.marks, MARKS, name)
    by = _role(columns, roles.by, (), name)
    others = [c for c in columns if c not in (label, marks, by) and c.lower() not in TIMES]
    channels = _named(roles.channels, columns, name) if roles.channels else others
    if not channels or not len(columns[channels[0]]):
        raise UserError(f"{name!r} has no values; it has the columns {', '.join(columns)}")
    values = np.stack([_numbers(columns[c], c, name) for c in channels], axis=1).astype(np.float32)
    wrong = None if marks is None else _numbers(columns[marks], marks, name) > 0
    labels = None if label is None else _labels(columns[label])
    return [
        Recording(
            f"{name}{called}", values[r], None if labels is None else labels[r], None if wrong is None else wrong[r]
        )
        for called, r in _groups(None if by is None else columns[by], len(values))
    ]


def _groups(by: Any, count: int) -> Iterator[tuple[str, np.ndarray]]:
    """What each recording is called, and its rows, in the order in which they begin."""
    if by is None:
        yield "", np.arange(count)
        return
    names = np.array([str(value) for value in by])
    found, first = np.unique(names, return_index=True)
    for each in found[np.argsort(first)]:
        yield f"[{each}]", np.flatnonzero(names == each)


def _role(columns: Mapping[str, Any], asked: str, usual: tuple[str, ...], name: str) -> str | None:
    if asked:
        return _named((asked,), columns, name)[0]
    return next((column for column in columns if column.lower() in usual), None)


def _named(names: tuple[str, ...], columns: Mapping[str, Any], where: str) -> list[str]:
    missing = [name for name in names if name not in columns]
    if missing:
        raise UserError(f"{where!r} has no column {missing[0]!r}; it has {', '.join(columns)}")
    return list(names)


def _numbers(column: Any, name: str, where: str) -> np.ndarray:
    """A column as floats, NaN where a value is missing."""
    if isinstance(column, np.ndarray) and column.dtype.kind in "biuf":
        return column.astype(np.float64)
    made = np.empty(len(column))
    for i, value in enumerate(column):
        try:
            made[i] = np.nan if value is None else number(str(value))
        except ValueError as error:
            raise UserError(
                f"{where!r}: the column {name!r} holds {str(value)[:40]!r} in row {i + 1}, which is no number; name the "
                "columns of values, as in ?channels=('a','b'), or call a column of times time or date"
            ) from error
    return made


def _labels(column: Any) -> np.ndarray:
    words = [str(value).strip() for value in column]
    whole = all(word.lstrip("-").isdigit() for word in words)
    return np.array([int(word) for word in words], np.int64) if whole else np.array(words)


def _is_number(word: str) -> bool:
    try:
        number(word)
    except ValueError:
        return False
    return True
