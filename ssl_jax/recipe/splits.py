"""What to learn from and what to be tested on, from one name of data: `train/` and `val/`, or a part held out by name."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.sources.base import Source, values_of
from ssl_jax.data.sources.folder import SUFFIXES
from ssl_jax.errors import UserError
from ssl_jax.recipe.component import Component
from ssl_jax.recipe.slots import SOURCE
from ssl_jax.recipe.sources import SCHEMES, Named, Options, Say, named, resolved

HELD_OUT = 0.2  # of the records, where nothing is set apart for a test
TRAIN = ("train", "training")
TEST = ("val", "valid", "validation", "dev", "eval", "test", "testing")  # the first that is there
_OF_CLASSES = ("folder", "video")  # schemes of a folder whose folders are classes
_BESIDE = ("val", "validation", "test", "t10k")  # what stands for "train" in the name of what is tested on


class Splits(NamedTuple):
    """Components for `data.pretrain`, `.probe` and `.test`; None without labels, since there is nothing to evaluate then."""

    pretrain: Options
    probe: Options | None
    test: Options | None


def splits_of(text: str, usual: Mapping[str, Any], where: str = "--data", say: Say = lambda line: None) -> Splits:
    """What a string that names data gives to learn from, and where it has labels to be evaluated on.

    `usual` are options that the sources have if the string says no others, such as `size`. A folder with `train/` and `val/` (or
    `test/`), shards called so, and `train` in the last part of a name where the same with `val` or `test` is there, set a test
    apart. Else a fifth of the records is held out by a hash of their names (`NamedPart`), which no other record moves. What was
    decided is told to `say`. Raises UserError for what cannot be opened.
    """
    train, tests = _own_parts(text, where, say)
    whole = resolved(train, usual, where, say)
    source = _built(whole, where)
    whole = _with_few_wide(whole, source, where, say)
    if not _is_labelled(source):
        say(f"{where}: no labels, so all {len(source):,} records are learnt from and nothing is evaluated")
        return Splits(whole, None, None)
    for name in tests:
        test = _test_part(name, usual, where, source)
        if test is not None:
            say(f"{where}: learns from {train}, is tested on {name}")
            return Splits(whole, dict(whole), test)
    return _held_out(whole, len(source), where, say)


def _with_few_wide(whole: Options, source: Source, where: str, say: Say) -> Options:
    """The component with what is black and white in its 16-bit pictures, where these lie among 8-bit ones."""
    found = source.few_wide() if hasattr(source, "few_wide") else None
    if found is None:
        return whole
    say(
        f"{where}: of the pictures some are of more than 8 bits; {found.low:g} is black in them and {found.high:g} white"
    )
    return whole | {"pixels": tuple(found)}


def _held_out(whole: Options, total: int, where: str, say: Say) -> Splits:
    """A fifth of the records for the test, by their names; nothing, where there are too few for that."""
    train, test = _named_part(whole, 0.0, 1 - HELD_OUT), _named_part(whole, 1 - HELD_OUT, 1.0)
    try:
        held = len(_built(test, where))
        _built(train, where)
    except UserError:
        say(f"{where}: {total} records are too few to hold some out for a test; nothing is evaluated")
        return Splits(whole, None, None)
    say(f"{where}: {held:,} of {total:,} records, chosen by their names, are held out for the test")
    return Splits(train, dict(train), test)


def _own_parts(text: str, where: str, say: Say) -> tuple[str, list[str]]:
    """What is learnt from, and what may be a test, best first."""
    if text.startswith("mix:"):
        return text, []
    found = named(text, where, say)
    if _is_mixed(found):
        say(f"{where}: pictures lie beside folders, so all of them are taken, and no folder is a class")
        return found.with_option("labelled=False"), []
    inside = _in_folder(found.scheme, found.rest)
    train = inside[0] if inside else found.rest
    tests = inside[1] if inside else list(_beside(found.rest))
    return found.with_rest(train), [found.with_rest(rest) for rest in tests]


def _is_mixed(found: Named) -> bool:
    """Whether a folder has pictures as well as folders in it, so that these cannot be classes."""
    folder = os.path.expanduser(found.rest)
    if found.scheme != "folder" or "labelled=" in found.tail or not os.path.isdir(folder):
        return False
    with os.scandir(folder) as entries:
        return bool(_folders(folder)) and any(entry.name.lower().endswith(SUFFIXES) for entry in entries)


def _in_folder(scheme: str, rest: str) -> tuple[str, list[str]] | None:
    """The parts of a folder that is divided into `train/` and others, or whose shards are; None where it is not."""
    folder, _, pattern = rest.rpartition("/*") if SCHEMES[scheme].patterns else (rest, "", "")
    if (scheme not in _OF_CLASSES and not pattern) or not os.path.isdir(os.path.expanduser(folder)):
        return None
    paths = {name: f"{folder}/{name}*{pattern}" if pattern else f"{folder}/{name}" for name in (*TRAIN, *TEST)}
    there = [name for name, path in paths.items() if glob.glob(os.path.expanduser(path))]
    train = next((name for name in there if name in TRAIN), None)
    foreign = not pattern and _folders(folder) - set(paths)  # they are classes then
    return None if train is None or foreign else (paths[train], [paths[name] for name in there if name in TEST])


def _folders(folder: str) -> set[str]:
    with os.scandir(os.path.expanduser(folder)) as entries:
        return {entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}


def _beside(rest: str) -> Iterator[str]:
    """The same name with `val` or `test` for `train` in its last part."""
    folder, slash, name = rest.rpartition("/")
    if "train" in name:
        yield from (f"{folder}{slash}{name.replace('train', other)}" for other in _BESIDE)


def _test_part(text: str, usual: Mapping[str, Any], where: str, train: Any) -> Options | None:
    """The component of a test that is there, labelled, and has no other classes than `train`."""
    try:
        made = resolved(text, usual, where)
        source = _built(made, where)
        known = set(getattr(source, "classes", ())) <= set(getattr(train, "classes", ()))
        return made if known and _is_labelled(source) else None
    except UserError:
        return None


def _named_part(whole: Options, start: float, stop: float) -> Options:
    return {"target": "ssl_jax.data.sources:NamedPart", "source": dict(whole), "start": start, "stop": stop}


def _built(options: Options, where: str) -> Source:
    return Component(options["target"], {k: v for k, v in options.items() if k != "target"}, where, slot=SOURCE).build()


def _is_labelled(source: Source) -> bool:
    """Whether records have labels, by all of them where that costs no reading, else by one."""
    labels = values_of(source, "label")
    if labels is None:
        labels = np.atleast_1d(BadRecords(1.0).read(source, 0)[1].get("label", -1))
    return bool(np.any(labels >= 0))
