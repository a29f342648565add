"""What was found out about data once, and is kept for the next start: arrays in the user's cache directory.

`SSL_JAX_DATA_CACHE` says where instead; `off` keeps nothing. Whatever cannot be read or written is as if it were not there.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

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
    path = place(kind, name)
    with suppress(Exception):  # whatever lies in the place of what was written
        if path is not None and path.is_file():
            with np.load(path, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
    return None


def write(kind: str, name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Keep arrays, instead of what was kept before; nobody finds half of them."""
    path = place(kind, name)
    if path is None:
        return
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.")
        try:
            with os.fdopen(file, "wb") as opened:
                np.savez(opened, allow_pickle=False, **arrays)
            os.replace(beside, path)
        finally:
            with suppress(OSError):
                os.unlink(beside)
