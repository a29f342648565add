"""Source -> batches, by threads (grain) or processes (`workers.py`). The order is a pure function of (seed, example cursor).

The cursor counts examples since the start of training: row `r` of the global batch of step `k` is example `k*B + r`.
Example `c` is in epoch `c // N` and is the `(c mod N)`-th record of that epoch's permutation (`data/order.py`), unless the
source says itself which record of which epoch it is, as a mixture does. Nothing else enters: not the number of processes or
threads, nor where a run was stopped. A resumed run needs only its step, and starts at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.order import order_of
from ssl_jax.data.sources import Source
from ssl_jax.data.stages import stage
from ssl_jax.data.workers import from_workers
from ssl_jax.errors import UserError

Batch = dict[str, np.ndarray]
_MOST_ROWS = 2**20  # of a batch, so that cursors stay below 2^63


def batches(
    source: Source,
    *,
    seed: int,
    batch_size: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 0,
    workers: int = 0,
    prefetch: int = 2,
    bad: BadRecords | None = None,
    drop_last: bool = False,
) -> Generator[Batch, None, None]:
    """Shuffled batches without end, from step `start_step` on.

    Each is `{field: [B/P, ...]}` with the records' fields, `_id` int32 (the record really used) and `_epoch` int32:
    rows `p*B/P` to `(p+1)*B/P` of the global batch, for process `p` of `P`. Every epoch shows every record exactly
    once, in another order; a batch may lie across two epochs, or hold many of a source smaller than itself. A mixture has an
    epoch for each of its sources.

    Args:
      source: a `Source`; with a `batch` method, rows are gathered at once, which suits arrays in memory.
      seed: any integer.
      batch_size: the global B, divisible by `process_count`.
      start_step: the first step to deliver.
      process_index: p in [0, P).
      process_count: P.
      threads: how many read and decode ahead, each a whole batch; 0 reads in the calling thread, when asked.
      workers: how many processes do, in the place of threads; the source goes to each by pickle.
      prefetch: batches kept ready, at least one for each thread or worker.
      bad: what to do about records that cannot be read; None stops at the first.
      drop_last: no batch lies across two epochs: each epoch leaves out the records of its order that do not fill one.

    Raises:
      UserError: sizes that do not fit, too many bad records, records of different shapes.
    """
    _check(source, batch_size, start_step, process_index, process_count)
    bad = BadRecords(0.0) if bad is None else bad
    read = Reader(source, seed, batch_size, process_index, process_count, drop_last)
    if workers and hasattr(source, "batch"):
        raise UserError(
            f"data.workers={workers}: these records are in memory, where nobody gathers them faster; set it to 0"
        )
    if workers:
        return from_workers(read, start_step, workers, prefetch, bad, len(source))
    return _from_threads(partial(read, bad=bad), start_step, threads, prefetch)


@dataclass(frozen=True)
class Reader:
    """Process `index` of `count`'s rows of the global batch of a step. What reads of it is counted in `bad`."""

    source: Source
    seed: int
    batch_size: int
    index: int = 0
    count: int = 1
    drop_last: bool = False

    def __call__(self, step: int, bad: BadRecords) -> Batch:
        """The batch, as `batches` delivers it."""
        rows = self.batch_size // self.count
        cursor = step * self.batch_size + self.index * rows + np.arange(rows)
        return examples(
            self.source, *order_of(self.source, self.seed, cursor, self.batch_size if self.drop_last else 1), bad
        )


def _from_threads(
    read: Callable[[int], Batch], first: int, threads: int, prefetch: int
) -> Generator[Batch, None, None]:
    import grain  # here, since it brings jax and orbax along

    steps = grain.MapDataset.range(sys.maxsize // _MOST_ROWS).map(read)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(prefetch, threads) if threads else 0)
    iterator = iter(steps.to_iter_dataset(options))
    iterator.set_state({"next_index": first})
    return _until_closed(iterator)


def once(
    source: Source,
    batch_size: int,
    bad: BadRecords | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Every record exactly once, in order: `({field: [B/P, ...], "_id": [B/P], "_epoch": [B/P]}, valid bool [B/P])`.

    All batches have `batch_size` rows, so that one compiled function serves them all: the last is filled up with copies
    of its last record. Those rows are not valid, and neither are the substitutes of records that cannot be read; with
    `bad=None` the first such record is a `UserError`. Of P processes each gets its rows, as in `batches`.
    """
    _check(source, batch_size, 0, process_index, process_count)
    bad = BadRecords(0.0) if bad is None else bad
    rows = batch_size // process_count
    for start in range(0, len(source), batch_size):
        cursor = start + process_index * rows + np.arange(rows)
        ids = np.minimum(cursor, len(source) - 1)
        used, batch = _gather(source, ids, np.zeros_like(ids), bad)
        valid = (cursor < len(source)) & (used == ids)
        yield batch | {"_id": used.astype(np.int32), "_epoch": np.zeros(rows, np.int32)}, valid


def examples(source: Source, ids: np.ndarray, epochs: np.ndarray, bad: BadRecords) -> Batch:
    """The records `ids` [R] as examples of `epochs` [R]: a batch as `batches` delivers it."""
    used, batch = _gather(source, ids, epochs, bad)
    return batch | {"_id": used.astype(np.int32), "_epoch": epochs.astype(np.int32)}


def _gather(source: Source, ids: np.ndarray, epochs: np.ndarray, bad: BadRecords) -> tuple[np.ndarray, Batch]:
    """The records `ids` [R] stacked to [R, ...], and which ones they really are.

    Where a source gathers them at once and one cannot be read, they are read one by one, which tells which. Where it draws
    random numbers for its examples, these are of the epoch, and of the record that an example really is.
    """
    if hasattr(source, "batch"):
        try:
            with stage("read"):
                return ids, source.batch(ids)
        except (UserError, MemoryError):
            raise
        except Exception:  # whatever it raises on a damaged record, it does again below
            pass
    pairs = list(_drawn(source, ids, epochs, bad) if hasattr(source, "draws") else _read(source, ids, bad))
    return np.array([used for used, _ in pairs], np.int64), _stack(pairs)


def _read(source: Source, ids: np.ndarray, bad: BadRecords) -> Iterator[tuple[int, dict[str, Any]]]:
    for index in ids:
        with stage("read"):
            pair = bad.read(source, int(index))
        yield pair


def _drawn(source: Any, ids: np.ndarray, epochs: np.ndarray, bad: BadRecords) -> Iterator[tuple[int, dict[str, Any]]]:
    draws = source.draws(ids, epochs)
    for index, epoch, own, (used, record) in zip(ids, epochs, draws, _read(source, ids, bad), strict=True):
        drawn = own if used == index else source.draws(np.array([used]), np.array([epoch]))[0]
        yield used, source.drawn(record, drawn)


def _stack(pairs: list[tuple[int, dict[str, Any]]]) -> Batch:
    first_id, first = pairs[0]
    shapes = _shapes(first)
    for index, record in pairs:
        found = _shapes(record)
        if found != shapes:
            raise UserError(
                f"records {first_id} and {index} do not fit into one batch: {_told(shapes)} and {_told(found)}; "
                f"let the source bring all records to one shape and type (ImageFolder and Tfds have `size`)"
            )
    return {name: np.stack([record[name] for _, record in pairs]) for name in first}


def _shapes(record: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    return {name: (np.shape(value), _kind(np.asarray(value).dtype)) for name, value in record.items()}


def _kind(dtype: np.dtype) -> np.dtype:
    """A type, whatever the length of its words."""
    return np.dtype(dtype.kind) if dtype.kind in "US" else dtype


def _told(shapes: dict[str, tuple[tuple[int, ...], np.dtype]]) -> str:
    return "{" + ", ".join(f"{name!r}: {shape} {dtype}" for name, (shape, dtype) in shapes.items()) + "}"


def _check(source: Source, batch_size: int, start_step: int, process_index: int, process_count: int) -> None:
    if not 0 < len(source) < 2**31:
        raise UserError(f"the source has {len(source)} records; between 1 and 2^31 - 1 can be numbered")
    if batch_size < 1 or batch_size % process_count:
        near = max(1, round(batch_size / process_count)) * process_count
        raise UserError(f"batch_size={batch_size} is not a multiple of {process_count} processes; use e.g. {near}")
    if start_step < 0 or not 0 <= process_index < process_count:
        raise UserError(f"start_step={start_step}, process {process_index} of {process_count}: out of range")


def _until_closed(iterator: Any) -> Generator[Batch, None, None]:
    try:
        yield from iterator
    finally:
        iterator.close()
