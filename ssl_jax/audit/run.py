"""`ssl-jax audit`: what two sets of pictures share, and what each holds twice, as plain data."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.audit.candidates import Candidates
from ssl_jax.audit.named import Named
from ssl_jax.audit.pairs import KINDS, Found, Pairs, found
from ssl_jax.audit.pictures import name_of
from ssl_jax.audit.prints import Prints, joined, prints
from ssl_jax.evaluate.clean import names_digest

LISTED = 20_000  # pairs in audit.json, the nearest first; ids of records are always all there
SIMILAR, DOUBTFUL = 0.99, 200  # cosine of embeddings from which a doubtful pair is listed, and how many are
METHOD = (
    "Exact: equal decoded pixels, or their mirror image. Near: 8 x 8 whitened DCT frequencies of the picture, of its mirror "
    "image and of 5 slight crops compared with all others by their cosine, then laid on each other and compared finely."
)

PLACES = {"across": "pairs across both sets", "pretrain": "pairs within pretrain", "eval": "pairs within eval"}

Say = Callable[[str], None]


class Sets(NamedTuple):
    """The sets in one row of places: those of the first, then those of the second if there is one."""

    names: tuple[str, ...]
    sources: tuple[Named, ...]

    def place(self, place: int) -> tuple[int, int]:
        """Which set a place is in, and the record there."""
        count = len(self.sources[0].source)
        return (0, place) if place < count else (1, place - count)


Similarity = Callable[[Sets, np.ndarray, np.ndarray], np.ndarray]  # of pairs of places: the cosine of embeddings [P]


def audit(
    pretrain: Named,
    evaluation: Named | None = None,
    key: str = "image",
    within: bool = True,
    similarity: Similarity | None = None,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Compare two sets of pictures (or one with itself), as plain data: see docs/audit.md for what `audit.json` holds.

    `within` False looks for what they share only. `similarity(sets, i, j)` gives the cosine of embeddings for pairs of places.
    Raises UserError for records that are no pictures.
    """
    sets = Sets(("pretrain", "eval"), (pretrain,) if evaluation is None else (pretrain, evaluation))
    each = [_read(name, one, key, say) for name, one in zip(sets.names, sets.sources, strict=False)]
    whole, start = each[0] if evaluation is None else joined(*each), time.monotonic()
    say(f"comparing {len(whole):,} pictures ...")
    across_only = None if within or evaluation is None else len(pretrain.source)
    result = found(whole, across_only)
    say(f"comparing: done in {time.monotonic() - start:.1f} s")
    return told(sets, each, result, similarity)


def _read(name: str, one: Named, key: str, say: Say) -> Prints:
    say(f"reading {name}: {one.told()} ...")
    start, total = time.monotonic(), len(one.source)
    tenth = max(1, total // 10)

    def progress(done: int) -> None:
        if done // tenth > (done - 512) // tenth and total > 10_000:
            say(f"reading {name}: {done:,} of {total:,}")

    made = prints(one.source, key, progress)
    bad = f", {len(made.bad):,} could not be read" if made.bad else ""
    say(f"reading {name}: done in {time.monotonic() - start:.1f} s{bad}")
    return made


def told(
    sets: Sets,
    each: Sequence[Prints],
    result: Found,
    similarity: Similarity | None,
) -> dict[str, Any]:
    """What was found, as plain data."""
    first, exact = len(each[0]), _exact_pairs(result.same)
    pairs = Pairs(*(np.concatenate(column) for column in zip(exact, result.pairs, strict=True)))
    pairs = pairs.take(np.lexsort((pairs.distance, pairs.kind, pairs.j < first)))  # across the sets first
    unclean = _unclean(result, first)
    listed = _listed(sets, pairs.take(slice(LISTED)), similarity)
    sure = float(np.median([pair["embedding"] for pair in listed])) if similarity and listed else SIMILAR
    return {
        "sets": {n: _set(s, p) for n, s, p in zip(sets.names, sets.sources, each, strict=False)},
        "method": METHOD,
        "pairs_found": {where: _counts(pairs.take(rows)) for where, rows in _where(pairs, first, sets).items()},
        "unclean": sorted(unclean),
        "unclean_by_kind": {kind: sorted(i for i, k in unclean.items() if KINDS[k] == kind) for kind in KINDS},
        "pairs": listed,
        "doubtful": _doubtful(sets, result.doubtful, similarity, max(sure, SIMILAR)),
    }


def _set(one: Named, made: Prints) -> dict[str, Any]:
    bad = [{"id": b.index, "name": b.name, "reason": b.reason} for b in made.bad]
    who = {"fingerprint": one.source.fingerprint(), "names": names_digest(one.source)}
    known = {"source": one.word, "records": len(made), **who, "unreadable": bad}
    return known | ({"part": one.part} if one.part else {})


def _where(pairs: Pairs, first: int, sets: Sets) -> dict[str, np.ndarray]:
    inner = {"pretrain": pairs.j < first, "eval": pairs.i >= first}
    across = {"across": (pairs.i < first) & (pairs.j >= first)} if len(sets.sources) > 1 else {}
    return across | {name: inner[name] for name, _ in zip(sets.names, sets.sources, strict=False)}


def _counts(pairs: Pairs) -> dict[str, int]:
    return {kind: int((pairs.kind == number).sum()) for number, kind in enumerate(KINDS)}


def _exact_pairs(same: np.ndarray) -> Pairs:
    """Each picture with the first that has the same pixels."""
    j = np.flatnonzero(same != np.arange(len(same))).astype(np.int32)
    box = np.tile(np.array([0, 0, 1, 1], np.float32), (len(j), 1))
    return Pairs(same[j], j, np.zeros(len(j), np.int8), np.zeros(len(j)), box)


def _unclean(result: Found, first: int) -> dict[int, int]:
    """Ids of the second set whose picture is in the first as well -> the kind that is nearest."""
    kind: dict[int, int] = {}
    in_first = np.unique(result.same[:first])
    others: dict[int, list[int]] = {}
    for place in range(first, len(result.same)):
        others.setdefault(int(result.same[place]), []).append(place - first)
    shared = [(int(r), 0) for r in in_first if int(r) in others]
    known = np.isin(np.arange(len(result.same)), in_first)
    for i, j, k in zip(result.pairs.i, result.pairs.j, result.pairs.kind, strict=True):
        shared += [(int(b), int(k)) for a, b in ((i, j), (j, i)) if known[a]]
    for representative, k in shared:
        for record in others.get(representative, ()):
            kind[record] = min(k, kind.get(record, k))
    return kind


def _listed(sets: Sets, pairs: Pairs, similarity: Similarity | None) -> list[dict[str, Any]]:
    rows = [
        {**_who(sets, int(i), int(j)), "kind": KINDS[k], "distance": round(float(d), 5)} | _cut(KINDS[k], box)
        for i, j, k, d, box in zip(*pairs, strict=True)
    ]
    cosines = similarity(sets, pairs.i, pairs.j) if similarity and len(rows) else ()
    for row, cosine in zip(rows, cosines, strict=False):
        row["embedding"] = round(float(cosine), 5)
    return rows


def _cut(kind: str, box: np.ndarray) -> dict[str, list[float]]:
    return {"box": [round(float(x), 3) for x in box]} if kind in ("cropped", "flipped") else {}


def _who(sets: Sets, i: int, j: int) -> dict[str, Any]:
    places = [sets.place(i), sets.place(j)]
    names = [name_of(sets.sources[s].source, record) for s, record in places]
    return {"sets": [sets.names[s] for s, _ in places], "ids": [record for _, record in places], "names": names}


def _doubtful(sets: Sets, tried: Candidates, similarity: Similarity | None, least: float) -> list[dict[str, Any]]:
    """Pairs whose pixels do not confirm what their hashes say, and that the encoder finds as alike as most of the sure ones."""
    if similarity is None or not len(tried.i):
        return []
    tried = tried.take(np.argsort(-tried.alike)[:LISTED])
    cosine = similarity(sets, tried.i, tried.j)
    order = [n for n in np.argsort(-cosine)[:DOUBTFUL] if cosine[n] >= least]
    return [{**_who(sets, int(tried.i[n]), int(tried.j[n])), "embedding": round(float(cosine[n]), 5)} for n in order]


def summary(result: Mapping[str, Any]) -> str:
    """The result for a terminal."""
    rows = [
        ("", *KINDS),
        *((PLACES[w], *(f"{n:,}" for n in counts.values())) for w, counts in result["pairs_found"].items()),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))] for row in rows
    ]
    return "\n".join([*("  ".join(line).rstrip() for line in lines), verdict(result)])


def verdict(result: Mapping[str, Any]) -> str:
    """What it comes to, in a sentence."""
    if "eval" not in result["sets"]:
        twice = sum(result["pairs_found"]["pretrain"].values())
        return f"{twice:,} pairs among {result['sets']['pretrain']['records']:,} records are one picture."
    count, total = len(result["unclean"]), result["sets"]["eval"]["records"]
    if not count:
        return f"None of the {total:,} records of eval is in pretrain."
    return f"{count:,} of {total:,} records of eval ({100 * count / total:.2f} %) are in pretrain; audit.json lists their ids."
