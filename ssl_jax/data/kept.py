"""What was found out about data once, and is kept for the next start: arrays in the user's cache directory, or beside the data.

`SSL_JAX_DATA_CACHE` says where instead; `off` keeps nothing. Whatever cannot be read or written is as if it were not there.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from ssl_jax.data import files

Arrays = dict[str, np.ndarray]
WHERE = "SSL_JAX_DATA_CACHE"


def place(kind: str, name: str) -> Path | None:
    """The file for what is kept of `kind` about `name`; None where nothing is kept."""
    said = os.environ.get(WHERE, "")
    if said == "off":
        return None
    base = (
        Path(said) if said else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ssl_jax" / "data"
    )
    return base / f"{kind}-{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.npz"


def read(kind: str, name: str) -> Arrays | None:
    """The arrays that were kept, or None."""
    return next(found(kind, name), None)


def found(kind: str, name: str, beside: Path | None = None) -> Iterator[Arrays]:
    """What was kept, at each place where it may be: in the file `beside`, where one is said, and in the cache."""
    for path in _places(kind, name, beside):
        with suppress(Exception):  # whatever lies in the place of what was written
            yield _read(path)


def write(kind: str, name: str, arrays: Mapping[str, np.ndarray], beside: Path | None = None) -> None:
    """Keep arrays, instead of what was kept before, at the first place that can be written; nobody finds half of them."""
    for path in _places(kind, name, beside):
        with suppress(OSError):
            _write(path, arrays)
            return


def _places(kind: str, name: str, beside: Path | None) -> list[Path]:
    cached = place(kind, name)
    return [] if cached is None else [cached] if beside is None else [beside, cached]


def _read(path: Path) -> Arrays:
    """The arrays of a file as `_write` makes it. ValueError for one that unfolds into more than it is, or is no regular file."""
    descriptor = files.opened(path)
    with os.fdopen(descriptor, "rb") as file, np.load(file, allow_pickle=False) as archive:
        if sum(member.file_size for member in archive.zip.infolist()) > os.fstat(descriptor).st_size:
            raise ValueError("it is compressed")
        return {key: archive[key] for key in archive.files}


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.")
    try:
        with os.fdopen(file, "wb") as opened:
            np.savez(opened, allow_pickle=False, **arrays)
        os.replace(beside, path)
    finally:
        with suppress(OSError):
            os.unlink(beside)
