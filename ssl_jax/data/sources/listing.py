"""What lies in a folder of pictures: listed once, and again only where a folder in it has changed since.

To list a million files takes seconds on a disk and minutes on a network; to ask a thousand folders whether a name was added,
removed or changed does not. What tells it is the time of the last change that the system keeps (ctime): unlike the time of
modification, no copying program sets it back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssl_jax.data import kept
from ssl_jax.data.sources.names import Names

KEPT_FROM = 10_000  # pictures; fewer are listed in a moment
_SETTLED = 2.0  # seconds after which another change of a folder is sure to have another time
PICTURES = "folder-1"  # what the lists of pictures are kept as
_LISTS = ("names", "tops", "folders", "odd", "other")


@dataclass(frozen=True)
class Listing:
    """A folder's pictures, as paths below it in order, and what else was in it.

    names: of the pictures. labels: int32 [N], the place in `tops` of the folder that each lies in; -1 where it lies in none.
    tops: the folders in it, in order. folders: all folders at any depth, "" for itself, and `states` int64 [F, 2], time of the
    last change and number of each. odd: names with a picture's suffix that are no regular files. others: how many files
    have another suffix, and `first_other` of them.
    """

    names: Names
    labels: np.ndarray
    tops: Names
    folders: Names
    states: np.ndarray
    odd: Names
    others: int = 0
    first_other: str = ""


def listed(root: Path, walk: Callable[[Path], Listing], kind: str = PICTURES) -> Listing:
    """The listing of `root`, from the last time if no folder in it has changed, else by `walk(root)`.

    `kind` is the name of what the walk looks for, and of its form.
    """
    return _unchanged(root, kind) or _listed_now(root, walk, kind)


def _unchanged(root: Path, kind: str) -> Listing | None:
    """The listing from the last time, if no folder in it has changed."""
    found = _kept(kind, os.path.realpath(root))
    return found if found is not None and _is_unchanged(root, found) else None


def _listed_now(root: Path, walk: Callable[[Path], Listing], kind: str) -> Listing:
    begun = time.time()
    made = walk(root)
    if len(made.names) >= KEPT_FROM and _is_settled(root, made, begun):
        kept.write(kind, os.path.realpath(root), _arrays(made))
    return made


def state(path: str | os.PathLike[str]) -> tuple[int, int]:
    """When a folder was last changed, in nanoseconds, and its number; (0, 0) where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_ctime_ns, found.st_ino


def _states(root: Path, folders: Names) -> np.ndarray:
    return (
        np.array([state(os.path.join(root, folder)) for folder in folders], np.uint64).astype(np.int64).reshape(-1, 2)
    )


def _is_unchanged(root: Path, found: Listing) -> bool:
    return np.array_equal(_states(root, found.folders), found.states)


def _is_settled(root: Path, made: Listing, begun: float) -> bool:
    """Whether no folder changed while it was listed, or so shortly before that a later change may bear the same time."""
    return _is_unchanged(root, made) and bool(made.states[:, 0].max() < (begun - _SETTLED) * 1e9)


def _arrays(made: Listing) -> kept.Arrays:
    lists = dict(
        zip(_LISTS, (made.names, made.tops, made.folders, made.odd, Names.of([made.first_other])), strict=True)
    )
    parts = {f"{key}_{part}": getattr(names, part) for key, names in lists.items() for part in ("blob", "ends")}
    return {**parts, "labels": made.labels, "states": made.states, "others": np.array(made.others)}


def _kept(kind: str, name: str) -> Listing | None:
    """What was kept about a folder; None where there is nothing, or nothing that holds together."""
    found = kept.read(kind, name)
    if found is None:
        return None
    try:
        lists = {key: Names(found[f"{key}_blob"], found[f"{key}_ends"]) for key in _LISTS}
        names, tops, folders, odd, other = lists.values()
        labels, states = found["labels"], found["states"]
        sound = all(part.is_sound() for part in lists.values()) and states.shape == (len(folders), 2)
        if not sound or labels.shape != (len(names),) or not np.all((labels >= -1) & (labels < len(tops))):
            return None
        return Listing(names, labels, tops, folders, states, odd, int(found["others"]), other[0])
    except (TypeError, KeyError, IndexError, ValueError):
        return None
