"""Do records hold what the augmentation takes them for? Asked of a few before a run, and of each as it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.image.pixels import Range
from ssl_jax.data.sources.arrays import spread
from ssl_jax.errors import UserError

_LOOKED_AT = 16  # records, evenly spread
Check = Callable[[Iterable[Mapping[str, Any]]], None]


def check_records(augment: Any, source: Any, bad: BadRecords) -> Any:
    """`source`, each record of which is looked at when it is read: one that is not what `augment.check(records)` wants, or
    that of one of its parts, is a bad record. UserError where this is so of one of a few."""
    checks = list(_checks(augment))
    records = [bad.read(source, int(i))[1] for i in spread(len(source), _LOOKED_AT)] if checks else []
    for check in checks:
        check(records)
    return Checked(source, checks) if checks else source


class Checked:
    """The records of `source`; ValueError for one that a check refuses, which makes it a bad record. All else is as there."""

    def __init__(self, source: Any, checks: Sequence[Check]) -> None:
        self.source, self.checks = source, checks
        if hasattr(source, "batch"):
            self.batch = lambda ids: self._checked(source.batch(ids))

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return self._checked(self.source[index])

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "source"), name)

    def _checked(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            for check in self.checks:
                check([record])
        except UserError as error:
            raise ValueError(str(error)) from error
        return record


def check_scales(sources: Mapping[str, Any]) -> None:
    """UserError where two splits took different numbers for white: the same picture would be darker in one of them."""
    found = {name: scale for name, source in sources.items() if (scale := scale_of(source)) is not None}
    if len(set(found.values())) > 1:
        told = ", ".join(f"data.{name} by {scale}" for name, scale in found.items())
        widest = Range(min(s.low for s in found.values()), max(s.high for s in found.values()))
        raise UserError(
            f"pixels are scaled by the range of each split, and these differ: {told}; set the same for all of them, "
            f"pixels=({widest.low:g}, {widest.high:g}) if that is black and white"
        )


def scale_of(source: Any) -> Range | None:
    """The range by which a source, or what it is a part of, brings pixels to [0, 1]; None where it delivers what it has."""
    scale = getattr(source, "scale", None)
    if isinstance(scale, Range):
        return scale
    return scale_of(source.source) if hasattr(source, "source") else None


def _checks(augment: Any) -> Iterator[Check]:
    own = getattr(augment, "check", None)
    if callable(own):
        yield own
        return
    for part in getattr(augment, "__dict__", {}).values():
        if callable(getattr(part, "check", None)):
            yield part.check
