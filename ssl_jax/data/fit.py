"""Do records hold what the augmentation takes them for? Asked of a few before a run, and of each as it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import jax
import numpy as np

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.image.pixels import Range
from ssl_jax.data.sources.arrays import spread
from ssl_jax.data.sources.checked import Check, checked
from ssl_jax.errors import UserError

_LOOKED_AT = 16  # records, evenly spread


def check_records(augment: Any, source: Any, bad: BadRecords) -> Any:
    """`source`; where its records have floats, each is looked at when it is read: one that is not what `augment.check(records)`
    wants, or that of one of its parts, is a bad record. UserError where this is so of one of a few."""
    _check_tokenizer(augment, source)
    checks = list(_checks(augment))
    records = [bad.read(source, int(i))[1] for i in spread(len(source), _LOOKED_AT)] if checks else []
    for check in checks:
        check(records)
    floats = any(np.asarray(value).dtype.kind == "f" for record in records for value in record.values())
    return checked(source, checks) if floats else source


def check_vocabulary(augment: Any, modules: Mapping[str, Any]) -> None:
    """UserError where a model has fewer tokens than the vocabulary that the augmentation, or its part for it, speaks of."""
    parts = getattr(augment, "parts", None)
    named: Mapping[str, Any] = parts if isinstance(parts, Mapping) else {}
    for name, module in modules.items():
        words = getattr(getattr(named.get(name, augment), "words", None), "size", 0)  # of an augmentation of texts
        size = getattr(module, "vocabulary", words)
        if isinstance(size, int) and size < words:
            raise UserError(
                f"the tokenizer has {words} tokens, and {name} has a table of {size}: set vocabulary={words} in model "
                "(all of its parts), or a larger number"
            )


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


def check_channels(augment: Any, sources: Mapping[str, Any]) -> None:
    """UserError where pictures of two splits reach the encoder with different numbers of channels.

    A split is a source, or what is known of its records: name -> shape and type.
    """
    found = {name: count for name, source in sources.items() if (count := _channels(augment, source)) is not None}
    if len(set(found.values())) > 1:
        told = ", ".join(f"data.{name} has {count}" for name, count in found.items())
        raise UserError(
            f"pictures of all splits need the same number of channels, and {told}: set `channels` of one, name other data, or "
            f"say data.probe=None and data.test=None to evaluate nothing"
        )


def _channels(augment: Any, source: Any) -> int | None:
    """How many channels the encoder is given of a picture; None where what it is given is none."""
    record = source if isinstance(source, Mapping) else BadRecords(1.0).read(source, 0)[1]
    shapes = {name: (np.shape(value), np.dtype(getattr(value, "dtype", object))) for name, value in record.items()}
    fields = {n: jax.ShapeDtypeStruct((1, *shape), kind) for n, (shape, kind) in shapes.items() if kind.kind in "biuf"}
    with suppress(Exception):  # an augmentation that cannot read the records says so where it does
        given = jax.eval_shape(augment.evaluation, fields)
        return next((given[name].shape[-1] for name in augment.inputs if given[name].ndim == 4), None)
    return None


def scale_of(source: Any) -> Range | None:
    """The range by which a source, or what it is a part of, brings pixels to [0, 1]; None where it delivers what it has."""
    scale = getattr(source, "scale", None)
    if isinstance(scale, Range):
        return scale
    return scale_of(source.source) if hasattr(source, "source") else None


def _check_tokenizer(augment: Any, source: Any) -> None:
    """UserError where records were made by another tokenizer than the augmentation's."""
    here, there = written_with(augment), written_with(source)
    if here and there and here != there:
        raise UserError(
            f"the records of {type(source).__name__} were made by another tokenizer than augment.tokenizer="
            f"{augment.tokenizer!r}: tokenise them with that one, or name theirs in augment.tokenizer; data.probe=None and "
            "data.test=None evaluate nothing"
        )


def written_with(source: Any) -> str:
    """The digest of the tokenizer of a source, or of what it is a part of; "" where it has none."""
    digest = getattr(source, "tokenizer_digest", None)
    if isinstance(digest, str):
        return digest
    return written_with(source.source) if hasattr(source, "source") else ""


def _checks(augment: Any) -> Iterator[Check]:
    own = getattr(augment, "check", None)
    if callable(own):
        yield own
        return
    for part in getattr(augment, "__dict__", {}).values():
        if callable(getattr(part, "check", None)):
            yield part.check
