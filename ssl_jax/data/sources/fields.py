"""Fields of records that are not pictures, as files give them: labels are int32, -1 where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssl_jax.data.sources.base import Record
from ssl_jax.errors import UserError

TOP = np.iinfo(np.int32).max


def label_of(value: Any, classes: Sequence[str]) -> np.ndarray:
    """A label as int32: a whole number, the name of a class, or -1 for None. ValueError for others."""
    if isinstance(value, str) and value in classes:
        return np.asarray(classes.index(value), np.int32)
    if value is None:
        return np.asarray(-1, np.int32)
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"the label {str(value)[:40]!r} is no whole number") from error
    if number != value and str(value).strip() != str(number):
        raise ValueError(f"the label {str(value)[:40]!r} is no whole number")
    if not -1 <= number <= (len(classes) - 1 if classes else TOP):
        raise ValueError(f"the label {number} is outside of [0, {len(classes) if classes else TOP + 1})")
    return np.asarray(number, np.int32)


def chosen(values: Mapping[str, Any], fields: Mapping[str, str]) -> Record:
    """The further fields of a record, `{"tokens": "ids"}`: what stands in a file as `ids`. ValueError where nothing does."""
    missing = [old for old in fields.values() if values.get(old) is None]
    if missing:
        raise ValueError(f"the record has no field {missing[0]!r}")
    return {
        new: values[old] if isinstance(values[old], str) else np.asarray(values[old]) for new, old in fields.items()
    }


def require(found: Sequence[str], wanted: Sequence[str], where: str) -> None:
    """UserError where one of the fields `wanted` is none of those that are `found` in a file."""
    missing = [name for name in wanted if name not in found]
    if missing:
        raise UserError(
            f"{where} has no field {missing[0]!r}; it has {', '.join(map(repr, found)) or 'none'}: set image_key, label_key "
            f"(None: there is none) or fields"
        )
