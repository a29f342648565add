"""Do records hold what the augmentation takes them for? Asked once of a few, before anything is compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.sources.arrays import spread

_LOOKED_AT = 16  # records, evenly spread
Check = Callable[[Iterable[Mapping[str, Any]]], None]


def check_records(augment: Any, source: Any, bad: BadRecords) -> None:
    """UserError where some records of `source` are not what `augment.check(records)` wants, or that of one of its parts."""
    checks = list(_checks(augment))
    records = [bad.read(source, int(i))[1] for i in spread(len(source), _LOOKED_AT)] if checks else []
    for check in checks:
        check(records)


def _checks(augment: Any) -> Iterator[Check]:
    own = getattr(augment, "check", None)
    if callable(own):
        yield own
        return
    for part in getattr(augment, "__dict__", {}).values():
        if callable(getattr(part, "check", None)):
            yield part.check
