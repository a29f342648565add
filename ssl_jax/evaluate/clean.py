"""Every probe on the clean part of the test records as well: those that `ssl-jax audit` did not find in the pretraining data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from ssl_jax.data.sources.subset import Labelled
from ssl_jax.errors import UserError
from ssl_jax.evaluate.classes import Renumbered
from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.instruments import Probe
from ssl_jax.evaluate.intervals import interval_of_mean
from ssl_jax.objectives.base import Column
from ssl_jax.recipe.values import fits, read_json

_SET = {"source": str, "records": int, "fingerprint": str, "names": str}
_AUDIT = {"unclean": [int], "sets": {"pretrain": _SET, "eval": _SET}}


@dataclass(frozen=True, eq=False)
class Audit:
    """The test records `unclean` int [n] that are in the pretraining data, of `records`, by the audit in the file `name`."""

    name: str
    unclean: np.ndarray
    records: int
    pretrain: str

    def notes(self) -> tuple[str, ...]:
        """A sentence where there is nothing to leave out."""
        none = f"clean: {self.name} finds none of the {self.records:,} test records in {self.pretrain}"
        return () if len(self.unclean) else (none,)

    def told(self) -> str:
        """For protocols."""
        left_out = f"{len(self.unclean):,} of {self.records:,} test records"
        return f"clean: without the {left_out} that {self.name} finds in {self.pretrain}"


def read_audit(path: Path, test: Any) -> Audit:
    """The audit in a file, of which `test` has to be the set `eval`.

    Raises:
      UserError: no audit, one of other records, or one that leaves no record.
    """
    found = read_json(path)
    if not fits(found, _AUDIT):
        raise UserError(f"--clean {path}: not what `ssl-jax audit --pretrain A --eval B` writes; name its audit.json")
    known, pretrain = found["sets"]["eval"], found["sets"]["pretrain"]["source"]
    source, places = whole(test)
    if not _same(known, source):
        raise UserError(
            f"--clean {path} is of {known['source']} ({known['records']:,} records), not of this run's data.test "
            f"({len(source):,} records); run ssl-jax audit with --eval and this run directory"
        )
    unclean = np.flatnonzero(np.isin(places, found["unclean"]))
    if len(unclean) == len(test):
        raise UserError(
            f"--clean {path}: every one of the {len(test):,} test records is in {pretrain}; none is left to test on"
        )
    return Audit(path.name, unclean, len(test), pretrain)


def whole(source: Any) -> tuple[Any, np.ndarray]:
    """What `eval` made `source` of, in which an audit numbers its records, and the places there [N]."""
    if isinstance(source, Renumbered):
        return whole(source.source)
    if isinstance(source, Labelled):
        return source.source, source.ids
    return source, np.arange(len(source))


def names_digest(source: Any) -> str:
    """SHA-256 of what a source calls its records, "" where they are numbers: the same whatever size its pictures are read at."""
    if not hasattr(source, "name_of") or str(source.name_of(0)).isdigit():
        return ""
    digest = hashlib.sha256()
    for index in range(len(source)):
        digest.update(f"{source.name_of(index)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _same(known: Mapping[str, Any], source: Any) -> bool:
    if known["records"] != len(source):
        return False
    return known["fingerprint"] == source.fingerprint() or (
        bool(known["names"]) and known["names"] == names_digest(source)
    )


@dataclass(frozen=True)
class Beside:
    """A probe on all test records and, beside it, on those that the audit leaves: its results again as `clean_<name>`."""

    probe: Probe
    audit: Audit

    def __getattr__(self, name: str) -> Any:
        if name in ("probe", "audit") or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.probe, name)  # what else the probe says of itself: `labelled`, `needs`, ...

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those of the probe, each followed by the same on the clean records."""
        return tuple(column for each in self.probe.columns for column in (each, _clean_column(each)))

    @property
    def protocol(self) -> str:
        """That of the probe, and what was left out."""
        return f"{self.probe.protocol}; {self.audit.told()}"

    def run(self, split: Split) -> dict[str, Any]:
        """The results of both."""
        split = remembering(split)
        result, clean = self.probe.run(split), self.probe.run(without(split, self.audit.unclean))
        return result | {
            f"clean_{name}": value for name, value in _with_interval(clean, self.probe).items() if name != "records"
        }


def beside(probes: Mapping[str, Probe], audit: Audit | None) -> dict[str, Probe]:
    """The probes, each beside itself on the clean records; health, which has no test records, as it is."""
    if audit is None or not len(audit.unclean):
        return dict(probes)
    return {name: probe if name == "health" else cast(Probe, Beside(probe, audit)) for name, probe in probes.items()}


def without(split: Split, ids: np.ndarray) -> Split:
    """The split without the test records `ids`, in its towers, readings and what is learned later too."""
    keep = ~np.isin(split.test.ids, ids)
    learn, again = split.learn, split.again
    return replace(
        split,
        test=split.test.take(keep),
        learn=None if learn is None else lambda rows: without(learn(rows), ids),
        again=None if again is None else lambda change: _kept(again(change), ids),
        towers={name: without(tower, ids) for name, tower in split.towers.items()},
        readings=_Changed(split.readings, lambda reading: without(reading, ids)),
    )


def remembering(split: Split) -> Split:
    """The split, whose encoders that learn from some labels are trained once for each choice of them."""
    learn, known = split.learn, dict[bytes, Split]()
    if learn is None:
        return split
    return replace(
        split, learn=lambda rows: known[k] if (k := rows.tobytes()) in known else known.setdefault(k, learn(rows))
    )


def _kept(features: Features, ids: np.ndarray) -> Features:
    return features.take(~np.isin(features.ids, ids))


def _clean_column(column: Column) -> Column:
    changed = {key: f"clean_{column[key]}" for key in ("value", "spread") if key in column}  # type: ignore[literal-required]
    return {**column, **changed, "title": f"{column['title']}, clean"}  # type: ignore[typeddict-item]


def _with_interval(result: dict[str, Any], probe: Probe) -> dict[str, Any]:
    """A result with the interval of the mean of what was right, where it has none."""
    right = result.get("records", {}).get("correct")
    if right is None or "interval" in result:
        return result
    return result | {"interval": interval_of_mean(right, getattr(probe, "seed", 0))}


class _Changed(Mapping[Any, Split]):
    """A mapping whose values are changed when they are asked for: they may be made only then."""

    def __init__(self, given: Mapping[Any, Split], change: Callable[[Split], Split]) -> None:
        self._given, self._change = given, change

    def __getitem__(self, key: Any) -> Split:
        return self._change(self._given[key])

    def __iter__(self) -> Iterator[Any]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)

    def __contains__(self, key: object) -> bool:
        return key in self._given
