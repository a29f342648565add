"""The card of a set of pictures: what it holds, how evenly, and what it lacks beside a reference set. As plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from ssl_jax.audit.coverage import NEAREST, coverage
from ssl_jax.audit.named import Named
from ssl_jax.audit.pairs import KINDS, found
from ssl_jax.audit.prints import Prints, prints
from ssl_jax.data.bad import BadRecord
from ssl_jax.data.sources.base import labels_named, values_of
from ssl_jax.errors import UserError

MOST_VALUES = 200  # of a column of metadata, to be counted
EMBEDDED = 10_000  # records of a set whose features are compared, at random
FEWEST = 50

Embed = Callable[[Any, np.ndarray], np.ndarray]
Say = Callable[[str], None]


def card(
    one: Named,
    reference: Named | None = None,
    embed: Embed | None = None,
    key: str = "image",
    seed: int = 0,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """The card of a source, as plain data: see docs/audit.md. With a `reference` and `embed(source, ids)`, its coverage.

    Raises UserError for records that are no pictures, and for a reference without an encoder.
    """
    if reference is not None and embed is None:
        raise UserError(
            "--reference needs --encoder RUN: what one set has of another is measured in an encoder's features"
        )
    say(f"reading {one.told()} ...")
    made = prints(one.source, key)
    say("looking for duplicates ...")
    result = found(made)
    twice = {"exact": int((result.same != np.arange(len(made))).sum())}
    twice |= {kind: int((result.pairs.kind == n).sum()) for n, kind in enumerate(KINDS) if n}
    return {
        "source": one.told(),
        "fingerprint": one.source.fingerprint(),
        "records": len(made),
        "notes": list(getattr(one.source, "notes", ())),
        "pictures": _pictures(made),
        "unreadable": [{"id": b.index, "name": b.name, "reason": b.reason} for b in made.bad],
        "duplicates": twice,
        "balance": balance(one.source, made.bad),
        **({} if reference is None or embed is None else {"coverage": _coverage(one, reference, embed, seed, say)}),
    }


def _pictures(made: Prints) -> dict[str, Any]:
    """Sizes and channels of the pictures that can be read."""
    read = made.size[:, 0] > 0
    size, channels = made.size[read], made.channels[read]
    if not len(size):
        return {"heights": [], "widths": [], "shapes": 0, "channels": {}}
    ends = lambda x: [int(x.min()), int(np.median(x)), int(x.max())]  # noqa: E731
    counted = Counter(int(c) for c in channels)
    return {
        "heights": ends(size[:, 0]),
        "widths": ends(size[:, 1]),
        "shapes": len(np.unique(size, axis=0)),
        "channels": {str(c): counted[c] for c in sorted(counted)},
        "brightness": [
            round(float(q), 1) for q in np.quantile(made.tint[read].mean(axis=(1, 2, 3)), (0.05, 0.5, 0.95))
        ],
    }


def balance(source: Any, bad: tuple[BadRecord, ...] = ()) -> dict[str, dict[str, int]]:
    """How often each value of each column stands there: the labels, and every field that is one word or whole number."""
    counted = {}
    for name in _columns(source, {b.index for b in bad}):
        values, counts = np.unique(column(source, name, bad), return_counts=True)
        if len(values) <= MOST_VALUES:
            names = _names(source, name)
            counted[name] = {_called(value, names): int(n) for value, n in zip(values, counts, strict=True)}
    return counted


def column(source: Any, name: str, bad: tuple[BadRecord, ...] = ()) -> np.ndarray:
    """All values of a field [N], without the records that cannot be read."""
    left_out = {b.index for b in bad}
    read = [i for i in range(len(source)) if i not in left_out]
    given = values_of(source, name)
    if given is not None:
        return np.asarray(given)[read]
    record = source.encoded if hasattr(source, "encoded") else source.__getitem__
    return np.array([_plain(record(i)[name]) for i in read])


def _columns(source: Any, bad: set[int]) -> list[str]:
    first = next((i for i in range(len(source)) if i not in bad), None)
    record = {} if first is None else (source.encoded if hasattr(source, "encoded") else source.__getitem__)(first)
    known = {name: np.asarray(value) for name, value in record.items() if not isinstance(value, bytes)}
    return [name for name, x in known.items() if x.ndim == 0 and x.dtype.kind in "biuU"]


def _plain(value: Any) -> Any:
    return np.asarray(value).item()


def _names(source: Any, name: str) -> tuple[str, ...]:
    return labels_named(source).get(name, ()) or (tuple(getattr(source, "classes", ())) if name == "label" else ())


def _called(value: Any, names: tuple[str, ...]) -> str:
    plain = _plain(value)
    if isinstance(plain, int) and plain == -1:
        return "none"
    return names[plain] if isinstance(plain, int) and 0 <= plain < len(names) else str(plain)


def _coverage(one: Named, reference: Named, embed: Embed, seed: int, say: Say) -> dict[str, Any]:
    """The numbers of `coverage`, and of which values of the reference's columns how much is covered."""
    say(f"features of {one.told()} and {reference.told()} ...")
    ids = [chosen(len(each.source), seed) for each in (one, reference)]
    features = [embed(each.source, some) for each, some in zip((one, reference), ids, strict=True)]
    fewest = min(map(len, features))
    if fewest <= NEAREST:
        raise UserError(f"coverage needs more than {NEAREST} records in each set, and one has {fewest}")
    numbers = coverage(features[0], features[1])
    by = {
        name: _by_value(reference.source, name, ids[1], numbers.covered) for name in _columns(reference.source, set())
    }
    told = {key: round(value, 4) for key, value in numbers._asdict().items() if key != "covered"}
    apart = [int(i) for i in ids[1][~numbers.covered]]
    return {
        "reference": reference.told(),
        "k": NEAREST,
        "compared": [len(i) for i in ids],
        **told,
        "by": by,
        "not_covered": apart,
    }


def chosen(total: int, seed: int) -> np.ndarray:
    """At most `EMBEDDED` of so many records, at random, in order."""
    return np.sort(np.random.default_rng(seed).permutation(total)[:EMBEDDED])


def _by_value(source: Any, name: str, ids: np.ndarray, covered: np.ndarray) -> dict[str, list[float]]:
    """Value -> [records, fraction covered], of values that enough of the reference have."""
    values, names = column(source, name)[ids], _names(source, name)
    groups = {value: covered[values == value] for value in np.unique(values)}
    enough = (
        {value: rows for value, rows in groups.items() if len(rows) >= FEWEST} if len(groups) <= MOST_VALUES else {}
    )
    return {_called(value, names): [len(rows), round(float(rows.mean()), 4)] for value, rows in enough.items()}
