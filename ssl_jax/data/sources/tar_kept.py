"""What was found out about data and is kept, beside the data or in the user's cache, so that it need not be found out again.

Losing it costs time and nothing else: what cannot be written is not, and who reads it checks whether it is what it should be.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ssl_jax.data import files

CACHE = "SSL_JAX_DATA_CACHE"  # a folder instead of ~/.cache/ssl_jax/data


def places(path: str, use: str) -> Iterator[Path]:
    """Where something about the file or folder `path` is kept for some `use`: beside it, else in the user's cache."""
    folder, name = os.path.split(path)
    yield Path(folder) / f".{name}.{use}"
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    yield _cache() / f"{digest}.{use}"


def read(place: Path) -> bytes | None:
    """What is kept there; None where nothing is, or no regular file."""
    with suppress(OSError, ValueError):
        return files.read(place)
    return None


def write(path: str, use: str, data: bytes) -> Path | None:
    """Keep `data` about `path` at the first place that can be written to; None where that is none."""
    for place in places(path, use):
        with suppress(OSError):
            return _replace(place, data)
    return None


def _replace(place: Path, data: bytes) -> Path:
    """Write a file that a reader finds whole or not at all."""
    if place.parent == _cache():
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, beside = tempfile.mkstemp(prefix=f"{place.name}.", dir=place.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(beside, place)
    except OSError:
        os.unlink(beside)
        raise
    return place


def _cache() -> Path:
    said = os.environ.get(CACHE)
    with suppress(RuntimeError):  # no HOME, and a user without a name
        return Path(said).expanduser() if said else Path.home() / ".cache" / "ssl_jax" / "data"
    return Path(tempfile.gettempdir()) / f"ssl_jax-{os.getuid()}" / "data"
