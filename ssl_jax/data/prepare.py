"""Any source -> files that are read at random at once: ArrayRecord with encoded pictures, or pixels (`ssl-jax data prepare`).

A file holds a stretch of the source's records, without those that cannot be read. It depends on these and the options alone, so
files are made at the same time, and what was killed goes on where it was: the bytes are those of one that went through.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.data import resumable
from ssl_jax.data.bad import BadRecord
from ssl_jax.data.image.shrink import as_png, shrunk
from ssl_jax.data.sources import manifest
from ssl_jax.data.sources.beside import LABELS
from ssl_jax.data.sources.packed import Value, pack
from ssl_jax.data.sources.raw import PIXELS
from ssl_jax.errors import UserError

_MOST = 4096  # records of a file
_LEAST = 64
_FILES = 16  # files of a small source, for as many workers
_BYTES = 512 << 20  # of a file of pixels

Advance = Callable[[int], object]


@dataclass(frozen=True)
class Plan:
    """What is made, and of what: preparations of the same plan give the same bytes.

    kind: "arrayrecord" or "raw". short_side: of encoded pictures, or None. total: records of the source. per_file: of them.
    """

    source: str
    kind: str
    short_side: int | None
    total: int
    per_file: int
    fingerprint: str

    @property
    def count(self) -> int:
        """How many files."""
        return -(-self.total // self.per_file)

    def name(self, number: int) -> str:
        """The name of a file without its suffix."""
        return f"{number:05d}-of-{self.count:05d}"


class Made(NamedTuple):
    """What is known of one stretch of records: its files with their SHA-256, and what is in them."""

    files: dict[str, str]
    records: int
    labels: dict[str, int]
    bad: list[dict[str, Any]]


def plan(source: Any, text: str, kind: str, short_side: int | None) -> Plan:
    """The plan for a source, which `text` names."""
    total = len(source)
    most = _MOST if kind == "arrayrecord" else max(1, min(_MOST, _BYTES // source[0]["image"].nbytes))
    per_file = min(most, max(_LEAST, -(-total // _FILES)))
    return Plan(text, kind, short_side, total, per_file, source.fingerprint())


def prepare(
    source: Any, job: Plan, folder: Path, workers: int, advance: Advance = lambda records: None
) -> dict[str, Any]:
    """Make the files of `job` in `folder`, `workers` at a time, but for those that are there and sound. Returns the manifest.

    `advance` is told how many records more are done.

    Raises:
      UserError: the folder holds something else, or is being written by another; no space; no record can be read.
    """
    with resumable.held(folder, asdict(job), manifest.FORMAT):
        made = _missing_made(source, job, folder, workers, advance, _sound(folder, job, advance))
        if not sum(one.records for one in made):
            first = next(bad for one in made for bad in one.bad)
            raise UserError(f"none of {job.total} records can be read; {first['name']!r}: {first['reason']}")
        said = _manifest(source, job, made)
        resumable.put(folder / manifest.NAME, json.dumps(said, indent=1).encode())
    resumable.forget(folder)
    return said


def _missing_made(
    source: Any, job: Plan, folder: Path, workers: int, advance: Advance, done: dict[int, Made]
) -> list[Made]:
    """What is known of all files, those that are not `done` made now."""
    stop = threading.Event()
    with ThreadPoolExecutor(workers) as pool:
        waiting = {
            pool.submit(_make, source, job, folder, number, advance, stop): number
            for number in range(job.count)
            if number not in done
        }
        try:
            for future in as_completed(waiting):
                done[waiting[future]] = future.result()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return [done[number] for number in range(job.count)]


def _make(source: Any, job: Plan, folder: Path, number: int, advance: Advance, stop: threading.Event) -> Made:
    """Make one file, and keep what is known of it."""
    labels: Counter[str] = Counter()
    bad: list[BadRecord] = []
    records = _counted(_records(source, job, number, bad, advance, stop), labels)
    write = _write_encoded if job.kind == "arrayrecord" else _write_pixels
    try:
        names = write(folder, job.name(number), records)
        made = Made(
            {name: resumable.sha256(folder / name) for name in names},
            labels.total(),
            dict(sorted(labels.items())),
            list(map(asdict, bad)),
        )
        resumable.note(folder, number, made._asdict())
    except (OSError, RuntimeError) as error:  # the latter is what the writer of ArrayRecord raises
        raise UserError(
            f"{str(folder)!r} cannot be written to ({error}); what is finished is kept: make room, and start the same command"
        ) from error
    return made


def _records(
    source: Any, job: Plan, number: int, bad: list[BadRecord], advance: Advance, stop: threading.Event
) -> Iterator[dict[str, Any]]:
    """The records of one file; those that cannot be read go to `bad` instead."""
    read = _encoded if job.kind == "arrayrecord" else _decoded
    for index in range(number * job.per_file, min((number + 1) * job.per_file, job.total)):
        if stop.is_set():
            raise UserError("stopped")
        try:
            record = read(source, index, job.short_side)
        except (UserError, MemoryError):
            raise
        except Exception as error:  # whatever a decoder raises on a damaged picture
            bad.append(BadRecord(index, name_of(source, index), f"{type(error).__name__}: {error}"))
        else:
            yield record
        advance(1)


def _counted(records: Iterator[dict[str, Any]], labels: Counter[str]) -> Iterator[dict[str, Any]]:
    for record in records:
        labels[str(int(record.get("label", -1)))] += 1
        yield record


def _encoded(source: Any, index: int, short_side: int | None) -> dict[str, Value]:
    """A record with its picture as it is to be stored, its name and its texts."""
    record = source.encoded(index) if hasattr(source, "encoded") else source[index]
    image = record["image"]
    data = image if isinstance(image, bytes) else as_png(_eight_bits(image))
    label = {"label": int(record["label"])} if int(record.get("label", -1)) >= 0 else {}
    texts = {"name": name_of(source, index)} | (source.texts(index) if hasattr(source, "texts") else {})
    return {**{k: _utf8(v) for k, v in texts.items()}, **label, "image": shrunk(data, short_side)}


def _utf8(value: Value) -> Value:
    """A text that can be written as UTF-8: what is no letter in a name is written as its code."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _decoded(source: Any, index: int, _: int | None) -> dict[str, Any]:
    record = source[index]
    _eight_bits(record["image"])
    return record


def _eight_bits(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3:
        raise UserError(f"pictures are {image.dtype} {image.shape}; only uint8 [H, W, C] can be prepared")
    return image


def name_of(source: Any, index: int) -> str:
    """What a person calls a record."""
    return source.name_of(index) if hasattr(source, "name_of") else str(index)


# --- writing


def _write_encoded(folder: Path, name: str, records: Iterator[Mapping[str, Any]]) -> list[str]:
    """Records as an ArrayRecord file; none where there are no records."""
    from array_record.python.array_record_module import ArrayRecordWriter

    path = folder / f"{name}.array_record"
    with resumable.beside(path) as beside:
        writer = ArrayRecordWriter(str(beside), "group_size:1,uncompressed")
        labels = []
        for record in records:
            writer.write(pack(record))
            labels.append(record.get("label", -1))
        writer.close()
        names = _kept(beside, path, len(labels))
    return names + _write_labels(folder, name, labels)


def _write_pixels(folder: Path, name: str, records: Iterator[Mapping[str, Any]]) -> list[str]:
    """Records as pixels and labels; the number of pixels is only known, and written, at the end."""
    path, shape = folder / f"{name}{PIXELS}", (0,)
    labels: list[int] = []
    with resumable.beside(path) as beside:
        with beside.open("wb") as file:
            for record in records:
                if not labels:
                    shape = record["image"].shape
                    _head(file, (0, *shape))
                file.write(np.ascontiguousarray(record["image"]).data)
                labels.append(int(record.get("label", -1)))
            file.seek(0)
            _head(file, (len(labels), *shape))
        names = _kept(beside, path, len(labels))
    return names + _write_labels(folder, name, labels)


def _write_labels(folder: Path, name: str, labels: list[int]) -> list[str]:
    """Labels beside the file of their records; none where there are none."""
    if max(labels, default=-1) < 0:
        return []
    path = folder / f"{name}{LABELS}"
    with resumable.beside(path) as beside:
        with beside.open("wb") as file:
            np.save(file, np.array(labels, np.int32))
        return _kept(beside, path, len(labels))


def _head(file: Any, shape: tuple[int, ...]) -> None:
    """The head of a `.npy` file, which has the same length for every number of records: numpy leaves room for it."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _kept(beside: Path, path: Path, count: int) -> list[str]:
    """Give a written file its name, if it holds any records."""
    if not count:
        return []
    resumable.sync(beside)
    os.replace(beside, path)
    return [path.name]


def _sound(folder: Path, job: Plan, advance: Advance) -> dict[int, Made]:
    """What is known of the files that are there and have the bytes that they had when they were finished."""
    found: dict[int, Made] = {}
    for number, known in resumable.sound(folder, job.count, manifest.FORMAT).items():
        with suppress(TypeError):  # what somebody else wrote there
            found[number] = Made(**known)
            advance(found[number].records + len(found[number].bad))
    return found


def _manifest(source: Any, job: Plan, made: list[Made]) -> dict[str, Any]:
    labels: Counter[str] = Counter()
    for one in made:
        labels.update(one.labels)
    return {
        "format": manifest.FORMAT,
        "plan": asdict(job),
        "records": sum(one.records for one in made),
        "bad": sum(len(one.bad) for one in made),
        "classes": list(getattr(source, "classes", ())),
        "labels": dict(sorted(labels.items(), key=lambda item: int(item[0]))),
        "parts": [one._asdict() for one in made],
    }
