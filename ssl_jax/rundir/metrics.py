"""metrics.jsonl: its lines, how they are read, what is healed when a run starts, and what is cut when it resumes.

Nothing is cut without a copy: `metrics.jsonl.before-<time>` is the file as it was. A resumed run cuts the steps since its
checkpoint; a copy that was made for that, `...-until-redone`, goes when every line of it is there again, but for speeds.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ssl_jax.recipe.values import fits
from ssl_jax.rundir.writing import replace_file, unused

logger = logging.getLogger("ssl_jax")

NONFINITE = "nonfinite"
REDONE = "-until-redone"

Line = tuple[bytes, dict[str, Any]]  # as it stands in the file, and what it says


def to_line(step: int, numbers: dict[str, Any]) -> str:
    """One line of metrics.jsonl. Floats are written so that they read back to the same bits.

    JSON has no nan or inf: such a value is written as null and named in `nonfinite`, e.g. `{"loss": "nan"}`.
    """
    record: dict[str, Any] = {"step": int(step)}
    odd: dict[str, str] = {}
    for key, value in numbers.items():
        value = value.item() if hasattr(value, "item") else value  # numpy and jax scalars
        if isinstance(value, float) and not math.isfinite(value):
            odd[key], value = repr(value), None
        record[key] = value
    return json.dumps(record | ({NONFINITE: odd} if odd else {}), allow_nan=False) + "\n"


def from_line(line: str | bytes) -> dict[str, Any]:
    """Inverse of `to_line`, `step` included. ValueError for a torn line, and for what is no record of numbers and words."""
    try:
        record = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not fits(record, {"step": int}):
        raise ValueError("not a record with a step")
    odd = record.pop(NONFINITE, {})
    if not isinstance(odd, dict) or not all(isinstance(value, str) for value in odd.values()):
        raise ValueError("nonfinite is no object of words")
    record |= {key: float(value) for key, value in odd.items()}
    if not fits(record, {str: (int, float, str, bool, None)}):
        raise ValueError("a value is no number and no word")
    return record


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl (or of the run directory that holds it), in order, without lines cut short."""
    path = Path(path)
    path = path / "metrics.jsonl" if path.is_dir() else path
    return [record for _, record in _lines(path)] if path.is_file() else []


def heal(path: Path) -> None:
    """At the start of a run: take out lines that are torn or there twice, and tell them and what is missing."""
    if not path.exists():
        return
    found = _lines(path)
    kept = list({_place_of(record): (line, record) for line, record in found}.values())  # of two, the later one
    rest = path.read_bytes().count(b"\n") - len(found)
    if len(found) > len(kept) or rest:
        told = f"{rest} lines that cannot be read and {len(found) - len(kept)} that are there twice were taken out"
        logger.warning("%s: %s; the file as it was is %s", path, told, _copied(path).name)
    if _write(path, kept) and not rest and len(found) == len(kept):
        logger.info("%s: its last line was cut short, and was taken out", path)
    for first, last in gaps([record["step"] for _, record in kept if "loss" in record]):
        logger.warning("%s has no line between the steps %d and %d", path, first, last)


def cut_back(path: Path, step: int, usual: int = 0) -> None:
    """Drop the lines after `step`, from which training goes on (-1: all of them).

    A run that was killed has lost fewer than `usual` steps; more than that is told loudly, and their copy stays for good.
    """
    if not path.exists():
        if step > 0:
            logger.warning("%s is not there, though training goes on at step %d: earlier numbers are lost", path, step)
        return
    remove_redone(path)
    found = _lines(path)
    kept = [line for line in found if line[1]["step"] <= step]
    if len(kept) == len(found):
        return
    last = max(record["step"] for _, record in found)
    expected = last - max(step, 0) < usual
    copy = _copied(path, REDONE if expected else "")
    told = "%s: %d lines after step %d, up to step %d, are cut, since training goes on there; the file as it was is %s"
    logger.log(
        logging.INFO if expected else logging.WARNING, told, path, len(found) - len(kept), max(step, 0), last, copy.name
    )
    _write(path, kept)


def remove_redone(path: Path) -> None:
    """Remove the copies of which every line is there again, to the last bit but for speeds."""
    copies = list(path.parent.glob(f"{path.name}.before-*{REDONE}"))
    there = {_without_speeds(record) for _, record in _lines(path)} if copies and path.exists() else set()
    for copy in copies:
        if all(_without_speeds(record) in there for _, record in _lines(copy)):
            copy.unlink()


def gaps(steps: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbours between which lines are missing: farther apart than both pairs beside them.

    >>> gaps([1, 2, 3, 7, 8])
    [(3, 7)]
    """
    pairs = list(pairwise([0, *steps]))
    apart = [0, *(after - before for before, after in pairs), 0]
    return [pair for i, pair in enumerate(pairs) if len(pairs) > 1 and apart[i + 1] > max(apart[i], apart[i + 2])]


def _lines(path: Path) -> list[Line]:
    return list(_parsed(path.read_bytes()))


def _parsed(data: bytes) -> Iterator[Line]:
    for line in data.split(b"\n")[:-1]:  # what comes after the last end of a line was cut short
        try:
            yield line + b"\n", from_line(line)
        except ValueError:
            continue


def _place_of(record: dict[str, Any]) -> tuple[int, bool, bool]:
    """What may be there once: the numbers of a step, and those of a check after it."""
    return record["step"], "loss" in record, "health" in record


def _write(path: Path, lines: Sequence[Line]) -> bool:
    """Write these lines alone; whether anything changed."""
    text = b"".join(line for line, _ in lines)
    changed = text != path.read_bytes()
    if changed:
        replace_file(path, text)
    return changed


def _copied(path: Path, suffix: str = "") -> Path:
    copy = unused(path.with_name(f"{path.name}.before"), suffix)
    replace_file(copy, path.read_bytes())
    return copy


def _without_speeds(record: dict[str, Any]) -> str:
    numbers = {k: v for k, v in record.items() if not k.endswith("_per_s") and not k.startswith("data_")}
    return json.dumps(numbers, sort_keys=True)
