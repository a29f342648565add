"""The `.ts` format of the UCR and UEA archives, as aeon writes it: a series a line, channels between colons, then a label."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ssl_jax.data.series.recordings import Recording, number, unreadable
from ssl_jax.errors import UserError


class Parsed(NamedTuple):
    """The recordings of a file, and the classes that its header names."""

    recordings: list[Recording]
    classes: tuple[str, ...]


def parsed(text: str, name: str) -> Parsed:
    """A file's recordings in their order; a line that is no series has a reason. UserError where it is no such file."""
    lines = [line.strip() for line in text.splitlines()]
    begin = next((i for i, line in enumerate(lines) if line.lower() == "@data"), None)
    if begin is None:
        raise UserError(
            f"{name!r} has no line @data: it is no .ts file; give one as aeon writes them, or a csv as name.csv"
        )
    header = dict(_setting(line) for line in lines[:begin] if line.startswith("@"))
    if header.get("timestamps", "false").lower() == "true":
        raise UserError(
            f"{name!r} has time stamps in its values (@timeStamps true), which are not read; write values alone"
        )
    kind, *classes = header.get("classlabel", "false").split()
    labelled = "true" in (kind.lower(), header.get("targetlabel", "false").lower())
    rows = [(i, line) for i, line in enumerate(lines[begin + 1 :], begin + 2) if line and not line.startswith("#")]
    return Parsed([_recording(f"{name} line {i}", line, labelled) for i, line in rows], tuple(sorted(classes)))


def _setting(line: str) -> tuple[str, str]:
    key, _, value = line[1:].partition(" ")
    return key.lower(), value.strip()


def _recording(name: str, line: str, labelled: bool) -> Recording:
    parts = line.split(":")
    channels, label = (parts[:-1], parts[-1].strip()) if labelled else (parts, None)
    try:
        columns = [np.array([number(word) for word in channel.split(",")], np.float32) for channel in channels]
    except ValueError as error:
        return unreadable(name, str(error))
    if not columns:
        return unreadable(name, "the line holds a label and no values")
    values = np.full((max(map(len, columns)), len(columns)), np.nan, np.float32)
    for channel, column in enumerate(columns):
        values[: len(column), channel] = column
    return Recording(name, values, label)
