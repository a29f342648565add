"""Batches read by processes of their own: for machines with many cores, where Python's lock slows threads down.

The processes are started afresh (spawn) and have no jax: they import what reads the records. A batch comes back in shared
memory. What a process finds of bad records comes with the batch it found it in, so that counts do not depend on them.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import platform
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from itertools import count
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

import numpy as np

from ssl_jax.data import stages
from ssl_jax.data.bad import BadRecords, Found
from ssl_jax.errors import UserError

Batch = dict[str, np.ndarray]
Read = Callable[[int, BadRecords], Batch]  # the batch of a step; goes to the processes by pickle
Fields = dict[str, tuple[tuple[int, ...], str, int]]  # field -> shape, dtype and place
_HEAP = {-3: 1 << 25, -1: 1 << 28}  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD of <malloc.h>
_SHM = Path("/dev/shm")
_task: Task  # in a worker: what it was started for


class Parcel(NamedTuple):
    """A batch in shared memory, and beside it what making it brought to light."""

    fields: Fields
    found: Found
    seconds: dict[str, float]


class Task(NamedTuple):
    """What a worker is to do: `read` batches, and leave each in the shared memory of a name of its own."""

    read: Read
    run: str

    def memory(self, step: int) -> str:
        """The name for the batch of a step."""
        return f"ssl_jax_{self.run}_{step}"


def from_workers(
    read: Read, first: int, workers: int, ahead: int, bad: BadRecords, total: int
) -> Generator[Batch, None, None]:
    """The batches of the steps from `first` on, in order, made by `workers` processes up to `ahead` batches in advance.

    Raises:
      UserError: what reading raises, too many bad records of `total`, or a process that was killed.
    """
    task, waiting = Task(read, token_hex(4)), deque[Future[Parcel]]()
    step = first
    try:
        with _pool(task, workers) as pool:
            for step in count(first):
                while len(waiting) < max(ahead, workers):
                    waiting.append(_asked(pool, step + len(waiting)))
                parcel = _result(waiting.popleft())
                batch = _unpacked(task.memory(step), parcel.fields)
                stages.add(parcel.seconds)
                bad.add(parcel.found, total)
                yield batch
    finally:  # what nobody takes any more; what a killed worker left, too
        for late in range(step, step + len(waiting) + 1):
            _free(task.memory(late))


@contextmanager
def _pool(task: Task, workers: int) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (task, os.getpid()))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _asked(pool: ProcessPoolExecutor, step: int) -> Future[Parcel]:
    """The batch of a step, some time; the first starts the processes, and sends them the source."""
    try:
        return pool.submit(_made, step)
    except BrokenProcessPool as error:
        raise _killed() from error
    except Exception as error:  # whatever pickle says of an object that cannot go to another process
        raise UserError(
            f"data.workers: this source cannot go to other processes ({error}); use data.threads"
        ) from error


def _result(future: Future[Parcel]) -> Parcel:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise _killed() from error


def _killed() -> UserError:
    return UserError(
        "a process that reads data was killed, or cannot start (a lack of memory is the usual reason); "
        "use fewer data.workers, a smaller data.prefetch, or data.threads"
    )


def _begin(task: Task, parent: int) -> None:
    """In a worker, once. Ctrl-C is the trainer's; a worker ends when the trainer closes the pool, or is no more."""
    global _task
    _task = task
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _keep_large_blocks()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _keep_large_blocks() -> None:
    """Have glibc reuse the memory of pictures: to give it back and clear it anew is an eighth of the time of two views."""
    if platform.libc_ver()[0] == "glibc":
        for option, value in _HEAP.items():
            ctypes.CDLL(None).mallopt(option, value)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _made(step: int) -> Parcel:
    """In a worker: the batch of a step."""
    bad = BadRecords(1.0)  # of this batch alone; the limit is for all, and with the trainer
    batch = _task.read(step, bad)
    return Parcel(_packed(_task.memory(step), batch), bad.found(), stages.taken())


def _packed(name: str, batch: Batch) -> Fields:
    ends = [int(end) for end in np.cumsum([-(-x.nbytes // 64) * 64 for x in batch.values()])]
    _require_room(ends[-1])
    memory = SharedMemory(name, create=True, size=ends[-1])
    fields: Fields = {}
    for (field, x), start in zip(batch.items(), [0, *ends[:-1]], strict=True):
        np.ndarray(x.shape, x.dtype, memory.buf, start)[...] = x
        fields[field] = (x.shape, x.dtype.str, start)
    memory.close()
    return fields


def _unpacked(name: str, fields: Fields) -> Batch:
    memory = SharedMemory(name)
    batch = {
        field: np.ndarray(shape, dtype, memory.buf, start).copy() for field, (shape, dtype, start) in fields.items()
    }
    memory.close()
    memory.unlink()
    return batch


def _free(name: str) -> None:
    with suppress(FileNotFoundError):
        memory = SharedMemory(name)
        memory.close()
        memory.unlink()


def _require_room(size: int) -> None:
    """UserError where shared memory is full: to write there kills the process (SIGBUS)."""
    if _SHM.is_dir() and size > (free := shutil.disk_usage(_SHM).free):
        raise UserError(
            f"data.workers: a batch of {size} bytes does not fit into {_SHM}, which has {free} left; "
            f"give the machine more (docker run --shm-size=8g), or use data.threads"
        )
