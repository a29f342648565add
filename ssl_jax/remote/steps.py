"""Checkpoints in a store: which are there, fetching one, sending one, and what is removed.

A step in the store has the files that it has on disk, and its manifest goes up last, by conditional create: a number with a
manifest is a promise there too.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ssl_jax.checkpoint import manifest
from ssl_jax.checkpoint.manifest import CheckpointCorrupt
from ssl_jax.errors import UserError
from ssl_jax.remote.store import Store
from ssl_jax.rundir.log import logger

CHECKPOINTS = "checkpoints"
ROOM = 1.2  # free space needed to fetch a step, as a multiple of its size

Sizes = Mapping[str, int]


def marked(sizes: Sizes) -> list[int]:
    """The steps of a listing that have a manifest, oldest first."""
    return sorted(step for name in sizes if (step := _step(name)) is not None and name == marker(step))


def files_of(sizes: Sizes, step: int) -> dict[str, int]:
    """What a listing has of `step`."""
    return {name: size for name, size in sizes.items() if _step(name) == step}


def unmarked(sizes: Sizes) -> list[str]:
    """The objects of steps that were never marked: what a killed run left half sent."""
    promised = set(marked(sizes))
    return [name for name in sizes if (step := _step(name)) is not None and step not in promised]


def marker(step: int) -> str:
    """The object that makes a number a promise."""
    return f"{CHECKPOINTS}/{step}/{manifest.NAME}"


def steps_on_disk(folder: Path) -> list[int]:
    """The steps of a run directory whose files are all there, oldest first; those that only stand for a step are not."""
    return [step for step in _numbered(folder) if not stands_in(folder / CHECKPOINTS / str(step))]


def stands_in(directory: Path) -> bool:
    """Whether `directory` holds nothing but the manifest of a step that is in the store."""
    return [path.name for path in directory.iterdir()] == [manifest.NAME]


def sent_files(directory: Path, step: int) -> dict[str, Path]:
    """Object -> file of a step on disk, without its manifest."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file() and path != directory / manifest.NAME)
    return {f"{CHECKPOINTS}/{step}/{path.relative_to(directory).as_posix()}": path for path in files}


def missing(files: Mapping[str, Path], there: Sizes) -> dict[str, Path]:
    """Those of `files` that the store does not have in their size."""
    return {name: path for name, path in files.items() if there.get(name) != path.stat().st_size}


def pin(folder: Path, step: int, place: Path) -> Path | None:
    """Another name for the files of a step, so that they can be sent while training removes it; None: it is gone already."""
    shutil.rmtree(place, ignore_errors=True)
    try:
        shutil.copytree(folder / CHECKPOINTS / str(step), place, copy_function=_link)
    except (FileNotFoundError, shutil.Error):
        shutil.rmtree(place, ignore_errors=True)
        return None
    return place


def fetch(store: Store, folder: Path, step: int, sizes: Sizes) -> bool:
    """Bring `step` into the run directory `folder`, unless it is there and sound. False: what the store has is damaged."""
    target = folder / CHECKPOINTS / str(step)
    if _sound(target):
        return True
    if target.is_dir() and not stands_in(target):
        logger.warning("the copy of step %d in %s is not what was written; it is fetched again", step, folder)
    names = files_of(sizes, step)
    check_room(folder, sum(names.values()))
    for _ in range(2):  # once more, since what is damaged may be this copy
        shutil.rmtree(target, ignore_errors=True)
        saving = target.with_name(f"{step}.saving")
        shutil.rmtree(saving, ignore_errors=True)
        store.download({name: saving / name.removeprefix(f"{CHECKPOINTS}/{step}/") for name in names})
        saving.rename(target)
        if _sound(target):
            return True
    return False


def fetch_newest(store: Store, folder: Path, sizes: Sizes) -> tuple[int | None, list[int]]:
    """The newest step that is sound, fetched where it is not on disk; and those that were met before it, which are not.

    Damaged copies on disk are removed where the store has the step.
    """
    damaged: list[int] = []
    there = marked(sizes)
    for step in sorted({*there, *steps_on_disk(folder)}, reverse=True):
        if fetch(store, folder, step, sizes) if step in there else _sound(folder / CHECKPOINTS / str(step)):
            return step, damaged
        logger.error("the checkpoint of step %d in %s is not what was written", step, store.address)
        damaged.append(step)
    return None, damaged


def mend(store: Store, folder: Path, sizes: Sizes) -> None:
    """Send again what a marked step lacks in the store, or has in another size, where the whole step is here and sound."""
    for step in set(marked(sizes)) & set(steps_on_disk(folder)):
        directory = folder / CHECKPOINTS / str(step)
        absent = missing(sent_files(directory, step), sizes)
        if absent and _sound(directory):
            logger.warning(
                "%d files of step %d in %s were not whole; they were sent again", len(absent), step, store.address
            )
            store.upload(absent)


def stand_in(store: Store, folder: Path, steps: Iterable[int]) -> None:
    """Let training know of steps that are only in the store, so that it says when they are too old to keep."""
    absent = [step for step in steps if not (folder / CHECKPOINTS / str(step)).exists()]
    store.download({marker(step): folder / marker(step) for step in absent})


def set_aside(store: Store, folder: Path, step: int, stamp: str) -> None:
    """Rename a damaged step in the store, its manifest first, and remove the copy of it that is here."""
    new = f"{step}.corrupt-{stamp}"
    names = files_of(store.sizes(f"{CHECKPOINTS}/{step}"), step)
    ordered = sorted(names, key=lambda name: name != marker(step))
    store.move({name: name.replace(f"/{step}/", f"/{new}/", 1) for name in ordered})
    shutil.rmtree(folder / CHECKPOINTS / str(step), ignore_errors=True)
    logger.error("it was renamed to %s/%s/%s; delete it when you do not need it", store.address, CHECKPOINTS, new)


def remove(store: Store, step: int) -> None:
    """Remove a step from the store: first the promise, then what it was about."""
    store.remove([marker(step)])
    store.remove(list(files_of(store.sizes(f"{CHECKPOINTS}/{step}"), step)))


def check_room(folder: Path, size: int) -> None:
    """UserError unless `size` bytes can be fetched into `folder`."""
    free = shutil.disk_usage(folder).free
    if free < ROOM * size:
        raise UserError(
            f"{folder} has {free / 1e6:.1f} MB free, and a checkpoint needs {ROOM * size / 1e6:.1f} MB there; "
            "free some space, or name a larger disk in SSL_JAX_STAGING"
        )


def _link(source: str, target: str) -> None:
    """Another name for a file, or a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, target)


def _sound(directory: Path) -> bool:
    with suppress(CheckpointCorrupt, OSError):
        manifest.check(directory)
        return True
    return False


def _numbered(folder: Path) -> list[int]:
    root = folder / CHECKPOINTS
    found = (p for p in root.iterdir() if p.name.isdecimal() and manifest.exists(p)) if root.is_dir() else ()
    return sorted(int(path.name) for path in found)


def _step(name: str) -> int | None:
    """The step that an object belongs to: `checkpoints/8/state/x` -> 8."""
    parts = name.split("/")
    return int(parts[1]) if len(parts) > 2 and parts[0] == CHECKPOINTS and parts[1].isdecimal() else None
