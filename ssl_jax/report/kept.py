"""What an evaluation kept of each test record, read back from `eval/records/<probe>.npz`."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

LARGEST = 2**30  # bytes of one file, unpacked

PerRecord = dict[str, np.ndarray]


def kept_records(workdir: Path, probe: str) -> dict[str, PerRecord]:
    """Row -> name -> an array with a row for each test record; {} where nothing was kept, or the file is damaged."""
    path = workdir / "eval" / "records" / f"{probe}.npz"
    try:
        if not path.is_file() or _size(path) > LARGEST:
            return {}
        with np.load(path, allow_pickle=False) as file:
            return _by_row({name: file[name] for name in file.files})
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return {}


def _size(path: Path) -> int:
    with zipfile.ZipFile(path) as file:
        return sum(member.file_size for member in file.infolist())


def _by_row(arrays: dict[str, np.ndarray]) -> dict[str, PerRecord]:
    found: dict[str, PerRecord] = {}
    for key, array in arrays.items():
        row, _, name = key.rpartition("/")
        found.setdefault(row, {})[name] = array
    return found
