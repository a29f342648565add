"""A store in memory: what is asked of it is listed, and it can be away, slow, or damaged."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

from fsspec.implementations.memory import MemoryFileSystem

from ssl_jax.checkpoint import manifest
from ssl_jax.remote.store import Store

ASKED = ("find", "cat_file", "pipe_file", "pipe", "info", "put", "get", "copy", "rm")


class Client:
    """fsspec's file system in memory, with an ear at the door."""

    def __init__(self) -> None:
        self.files, self.asked, self.away, self.delay = MemoryFileSystem(), [], False, 0.0

    def __getattr__(self, name):
        method = getattr(self.files, name)
        if name not in ASKED:
            return method

        def call(*args, **options):
            time.sleep(self.delay)
            if self.away:
                raise ConnectionError("no route to the store")
            found = args[-1] if name in ("put", "copy") else args[0]
            self.asked += [
                (name, path.rpartition("run/")[2]) for path in ([found] if isinstance(found, str) else found)
            ]
            return method(*args, **options)

        return call


def memory_store() -> Store:
    return Store(f"memory://{uuid.uuid4().hex}/run", Client())


def save(folder: Path, step: int, content: bytes = b"state") -> Path:
    """A checkpoint as training publishes it, and the metrics up to it."""
    saving, target = folder / "checkpoints" / f"{step}.saving", folder / "checkpoints" / str(step)
    (saving / "state" / "d").mkdir(parents=True)
    for name in ("state/a", "state/d/b", "meta"):
        (saving / name).write_bytes(content + name.encode() + bytes([step]))
    manifest.write(saving)
    saving.rename(target)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(f'{{"step": {step}}}\n')
    return target


def flip(store: Store, name: str) -> None:
    """Change one bit of an object."""
    data = bytearray(store.read(name))
    data[0] ^= 1
    store.write({name: bytes(data)})
