"""What a complete checkpoint consists of: every file with its size and SHA-256, in `manifest.json`.

Orbax returns wrong numbers without an error when a bit of a data file has flipped, so what is read back is compared with
what was written. Hashing runs in threads; one core does about 1 GB/s.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ssl_jax.rundir.durable import sync_tree
from ssl_jax.rundir.log import replace_file

NAME = "manifest.json"


class CheckpointCorrupt(Exception):
    """A checkpoint is not what was written: a file is missing, cut short or changed. The message says which."""


def write(directory: Path) -> None:
    """Hash every file below `directory`, have all of it on disk, and then write its manifest, atomically and last."""
    found = entries(directory, _files(directory))
    sync_tree(directory)
    replace_file(directory / NAME, _text(found))


def check(directory: Path) -> None:
    """Compare every file that the manifest lists with what it says. Files that it does not list are ignored.

    Raises:
      CheckpointCorrupt: no manifest, or the first difference found.
    """
    compare(directory, _read(directory))


def compare(directory: Path, wanted: Mapping[str, Any]) -> None:
    """CheckpointCorrupt with the first file of `directory` that differs from its entry in `wanted`."""
    for name, entry in wanted.items():
        path = directory / name
        if not path.is_file():
            raise CheckpointCorrupt(f"{name} is missing")
        if path.stat().st_size != entry["size"]:
            raise CheckpointCorrupt(f"{name} has {path.stat().st_size} bytes instead of {entry['size']}")
    for name, entry in entries(directory, list(wanted)).items():
        if entry != wanted[name]:
            raise CheckpointCorrupt(f"{name} has another SHA-256 than when it was written")


def entries(directory: Path, names: list[str]) -> dict[str, Any]:
    """Name -> size and SHA-256, of files in `directory`."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return dict(zip(names, pool.map(lambda name: _entry(directory / name), names), strict=True))


def exists(directory: Path) -> bool:
    """Whether `directory` was finished: the manifest is written last."""
    return (directory / NAME).is_file()


def _read(directory: Path) -> dict[str, Any]:
    try:
        text = (directory / NAME).read_text(encoding="utf-8")
        files = json.loads(text)["files"]
        same = text == _text(files)  # the manifest holds its own digest, so a flipped bit in it is seen too
    except FileNotFoundError as error:
        raise CheckpointCorrupt(f"{NAME} is missing") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointCorrupt(f"{NAME} cannot be read ({error})") from error
    if not same:
        raise CheckpointCorrupt(f"{NAME} was changed after it was written")
    return files


def _text(files: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    return json.dumps({"sha256": digest, "files": files}, indent=1, sort_keys=True) + "\n"


def _files(directory: Path) -> list[str]:
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file() and p.name != NAME)


def _entry(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"size": os.fstat(file.fileno()).st_size, "sha256": digest}
    except OSError as error:  # a block that the disk cannot read
        raise CheckpointCorrupt(f"{path.name} cannot be read ({error.strerror})") from error
