"""Which records of a source to take: by a field, without duplicates, so many of each class. Places [R] -> places."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.sources.base import Source, values_of
from ssl_jax.errors import UserError

Advance = Callable[[int], object]


def labels_of(source: Source, advance: Advance = lambda records: None) -> np.ndarray:
    """All labels int32 [N], -1 where there is none; read record by record where the source does not give them at once."""
    values = values_of(source, "label")
    if values is None:
        read = getattr(source, "encoded", source.__getitem__)
        values = np.array([_label(read, i, advance) for i in range(len(source))], np.int32)
    if not len(values) or values.max() < 0:
        raise UserError("no record has a label; choose by another field, or without --balanced and --per-class")
    return values


def per_class(ids: np.ndarray, labels: np.ndarray, count: int | None, seed: int) -> np.ndarray:
    """Of `ids` [R], `count` of each class at random, or all where it has fewer; None: as many as the smallest class has.

    `labels` [N] are those of all records. Records without a label are left out.
    """
    ids = ids[labels[ids] >= 0]
    order = ids[np.argsort(np.random.Philox(seed).random_raw(len(ids)), kind="stable")]
    grouped = order[np.argsort(labels[order], kind="stable")]
    starts = np.r_[True, np.diff(labels[grouped]) != 0].nonzero()[0]
    sizes = np.diff(np.r_[starts, len(grouped)])
    rank = np.arange(len(grouped)) - np.repeat(starts, sizes)
    return np.sort(grouped[rank < (min(sizes, default=0) if count is None else count)])


def matching(
    source: Source, ids: np.ndarray, field: str, pattern: str, advance: Advance = lambda n: None
) -> np.ndarray:
    """Of `ids` [R], those whose `field` is `pattern`, in which `*` and `?` stand for anything.

    A field is `label` (the name of a class, or its number), `name`, or a text of the source. UserError where no record has it.
    """
    if field == "label":
        return ids[np.isin(labels_of(source, advance)[ids], _classes(source, pattern))]
    found = [_text(source, int(i), field, advance) for i in ids]
    if all(text is None for text in found):
        has = sorted({name for i in ids[:16] for name in _texts(source, int(i))})
        raise UserError(f"no record has a field {field!r}; there are label, name{''.join(', ' + n for n in has)}")
    return ids[[text is not None and fnmatch.fnmatchcase(text, pattern) for text in found]]


def without_duplicates(source: Source, ids: np.ndarray, path: str) -> np.ndarray:
    """Of `ids` [R], those that `ssl-jax audit` did not find again: of several that are one picture, the first stays.

    Records of a set that was audited against another one are left out as well where that has them.

    Raises:
      UserError: no such file, or one about other records.
    """
    audit = _read_audit(path)
    for name, said in audit["sets"].items():
        if said["records"] == len(source) and _names_fit(source, audit["pairs"], name):
            return np.setdiff1d(ids, _again(audit, name, path))
    raise UserError(f"{path!r} is about other records than these {len(source)}; run ssl-jax audit on this source")


def _again(audit: Mapping[str, Any], name: str, path: str) -> np.ndarray:
    """The records of a set that are in the other one, or the same as an earlier one."""
    within = [pair["ids"] for pair in audit["pairs"] if pair["sets"] == [name, name]]
    listed = sum(1 for _ in within)
    if listed < sum(audit["pairs_found"].get(name, {}).values()):
        raise UserError(
            f"{path!r} lists {listed} of the pairs that were found; audit the subset without these once more"
        )
    other = audit["unclean"] if name == "eval" else []
    return np.array([*(max(pair) for pair in within), *other], np.int64)


def _names_fit(source: Source, pairs: Iterable[Mapping[str, Any]], name: str) -> bool:
    named = getattr(source, "name_of", str)
    of_set = ((i, n) for p in pairs for s, i, n in zip(p["sets"], p["ids"], p["names"], strict=True) if s == name)
    return all(0 <= i < len(source) and named(i) == n for i, n in of_set)


def _read_audit(path: str) -> dict[str, Any]:
    try:
        audit = json.loads(files.read(path))
        if isinstance(audit["sets"], dict) and isinstance(audit["pairs"], list) and isinstance(audit["unclean"], list):
            return audit
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"{path!r} cannot be read as what ssl-jax audit writes ({error})") from error
    raise UserError(f"{path!r} is not what ssl-jax audit writes")


def _classes(source: Source, pattern: str) -> list[int]:
    names = list(getattr(source, "classes", ()))
    found = [number for number, name in enumerate(names) if fnmatch.fnmatchcase(name, pattern)]
    if not found and pattern.isdecimal():
        return [int(pattern)]
    if not found:
        raise UserError(
            f"no class is called {pattern!r}; there are {', '.join(names[:20]) or 'no names, only numbers'}"
        )
    return found


def _text(source: Source, index: int, field: str, advance: Advance) -> str | None:
    advance(1)
    try:
        found = _name(source, index) if field == "name" else _texts(source, index).get(field)
    except (ValueError, OSError, LookupError):  # a bad record
        return None
    return None if found is None else str(found)


def _texts(source: Any, index: int) -> Mapping[str, Any]:
    return source.texts(index) if hasattr(source, "texts") else {}


def _name(source: Any, index: int) -> str:
    return source.name_of(index) if hasattr(source, "name_of") else str(index)


def _label(read: Callable[[int], Any], index: int, advance: Advance) -> int:
    advance(1)
    try:
        return int(read(index).get("label", -1))
    except UserError:
        raise
    except Exception:  # whatever is raised on a bad record
        return -1
