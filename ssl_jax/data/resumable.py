"""A folder whose files are made one by one by a plan: what was killed goes on where it was, and gives the same bytes.

While files are made, a folder `.unfinished` in it holds the plan, and what is known of each finished part: a mapping with
`files`, their SHA-256 by name. At the end all of it stands in the manifest.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ssl_jax.data import files
from ssl_jax.data.sources import manifest
from ssl_jax.errors import UserError

UNFINISHED = ".unfinished"


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A new file's path; what is left of it after the block is removed."""
    new = path.with_name(f".{path.name}.partial")
    new.unlink(missing_ok=True)
    try:
        yield new
    finally:
        new.unlink(missing_ok=True)


def put(path: Path, data: bytes) -> None:
    """Write a file whole, or not at all."""
    with beside(path) as new:
        new.write_bytes(data)
        sync(new)
        os.replace(new, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """SHA-256 of a regular file, in hex."""
    with os.fdopen(files.opened(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def held(folder: Path, plan: Mapping[str, Any], form: str) -> Iterator[None]:
    """The folder, new or as an earlier command of the same plan left it, and nobody else's for the block.

    `form` is the format of its manifest. UserError where it holds something else, or another process writes it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = _plan_in(folder, form)
        if before is None and set(os.listdir(folder)) - {UNFINISHED}:
            raise UserError(f"{str(folder)!r} is not empty, and nothing was prepared there; name a new folder")
        if before is not None and (other := _differs(before, plan)):
            raise UserError(f"{str(folder)!r} holds {other}; name a new folder, or remove it")
        (folder / UNFINISHED).mkdir(exist_ok=True)
        with (folder / UNFINISHED / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            put(folder / UNFINISHED / "plan.json", json.dumps(plan).encode())
            yield
    except BlockingIOError as error:
        raise UserError(f"{str(folder)!r} is being prepared by another process; wait for it") from error
    except OSError as error:
        raise UserError(f"{str(folder)!r} cannot be written to ({error.strerror}); name another folder") from error


def note(folder: Path, number: int, made: Mapping[str, Any]) -> None:
    """Keep what is known of a finished part."""
    put(folder / UNFINISHED / f"{number:05d}.json", json.dumps(made).encode())


def sound(folder: Path, count: int, form: str) -> dict[int, dict[str, Any]]:
    """What is known of those of `count` parts whose files have the bytes that they had when they were finished."""
    found = {number: made for number in range(count) if (made := known(folder, number, form)) is not None}
    return {n: made for n, made in found.items() if all(_is_same(folder / k, sha) for k, sha in made["files"].items())}


def known(folder: Path, number: int, form: str) -> dict[str, Any] | None:
    """What was kept of one part, by a command that was not finished or by one that was."""
    for made in (_unfinished(folder, number), _finished(folder, number, form)):
        if isinstance(made, dict) and isinstance(made.get("files"), dict):
            return made
    return None


def forget(folder: Path) -> None:
    """Remove what was only kept for going on."""
    for path in (folder / UNFINISHED).iterdir():
        path.unlink()
    (folder / UNFINISHED).rmdir()


def _unfinished(folder: Path, number: int) -> Any:
    with suppress(OSError, ValueError):
        return json.loads(files.read(folder / UNFINISHED / f"{number:05d}.json"))
    return None


def _finished(folder: Path, number: int, form: str) -> Any:
    with suppress(LookupError, TypeError):
        return manifest.read(folder, form)["parts"][number]
    return None


def _plan_in(folder: Path, form: str) -> dict[str, Any] | None:
    """The plan of what was made in a folder, or begun; None where nothing was."""
    with suppress(OSError, ValueError):
        begun = json.loads(files.read(folder / UNFINISHED / "plan.json"))
        return begun if isinstance(begun, dict) else None
    return manifest.read(folder, form).get("plan")


def _differs(before: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """What was made there otherwise, for a message; "" where nothing was: a source may be called otherwise."""
    keys = [name for name, value in plan.items() if name != "source" and before.get(name) != value]
    return f"another preparation, of {keys[0]} {before.get(keys[0])!r} and not {plan[keys[0]]!r}" if keys else ""


def _is_same(path: Path, sha: str) -> bool:
    with suppress(OSError, ValueError):
        return sha256(path) == sha
    return False
