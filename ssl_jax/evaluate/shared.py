"""What the data of an evaluation have in common that they should not: the same set twice, or some of the same records."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.sources.base import labels_named
from ssl_jax.errors import UserError

MOST = 2_000_000  # records above which a set is known by its fingerprint alone
ROWS = 4096


def marks(test: Any, others: Mapping[str, Any], pretrain_fingerprint: str = "") -> tuple[str, ...]:
    """A sentence for each of `others` (what it is called -> source) that has records of `test`.

    `pretrain_fingerprint` is that of what was pretrained on, known where its data is not.
    """
    told = [told_of(name, test, other) for name, other in others.items()]
    same = pretrain_fingerprint and pretrain_fingerprint == test.fingerprint() and "pretraining data" not in others
    told += ["the test records are the pretraining data (one fingerprint)"] if same else []
    return tuple(filter(None, told))


def told_of(name: str, test: Any, other: Any) -> str:
    """The sentence about another set, "" where nothing is shared as far as can be seen."""
    if test.fingerprint() == other.fingerprint():
        return f"the test records are the {name} (one fingerprint)"
    count = len(shared(test, other))
    return f"{count:,} of {len(test):,} test records are also in the {name}" if count else ""


def shared(test: Any, other: Any) -> np.ndarray:
    """Places in `test` of records that are in `other` too, by their content: fields of arrays, files of pictures.

    Files are read only where one of the other set has the same size. Empty where the two are not of one kind.
    """
    if max(len(test), len(other)) > MOST:
        return np.array([], int)
    for keys in (_file_keys, _array_keys):
        mine, theirs = keys(test, other), keys(other, test)
        if mine is not None and theirs is not None:
            known = set(theirs)
            return np.flatnonzero([key in known and key != b"" for key in mine])
    return np.array([], int)


def _array_keys(source: Any, other: Any) -> list[bytes] | None:
    """A digest of each record of a source that gathers many at once, without its labels."""
    if not hasattr(source, "batch") or hasattr(source, "encoded"):
        return None
    hidden = {"label", *labels_named(source)}
    keys: list[bytes] = []
    for start in range(0, len(source), ROWS):
        batch = source.batch(np.arange(start, min(start + ROWS, len(source))))
        columns = [np.ascontiguousarray(batch[name]) for name in sorted(batch) if name not in hidden]
        keys += (
            [_digest(b"".join(c[row].tobytes() for c in columns)) for row in range(len(columns[0]))] if columns else []
        )
    return keys if len(keys) == len(source) else None


def _file_keys(source: Any, other: Any) -> list[bytes] | None:
    """The content of each file that has the size of one of `other`, b"" of the rest; None where a source has no files."""
    mine, theirs = _paths(source), _paths(other)
    if mine is None or theirs is None:
        return None
    sizes = Counter(map(_size, theirs))
    return [_content(path) if sizes[_size(path)] and _size(path) >= 0 else b"" for path in mine]


def _paths(source: Any) -> list[Path] | None:
    inner, ids = getattr(source, "source", None), getattr(source, "ids", None)
    if inner is not None:
        paths = _paths(inner)
        return paths if paths is None or ids is None else [paths[int(i)] for i in ids]
    root, names = getattr(source, "root", None), getattr(source, "paths", None)
    return None if root is None or names is None else [Path(root) / name for name in names]


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _content(path: Path) -> bytes:
    try:
        return _digest(files.read(path))
    except (OSError, ValueError):
        return b""


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def built(component: Any) -> Any | None:
    """The source of a component; None where its data is not here."""
    try:
        return component.build()
    except UserError:
        return None
