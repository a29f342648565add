"""`ssl-jax search`: what of any records lies nearest to a text or a file, in the space that encoders share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ssl_jax.data import files
from ssl_jax.data.bad import BadRecords
from ssl_jax.data.image.decode import MAX_PIXELS
from ssl_jax.data.sources.arrays import Arrays
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.pair_parts import SUFFIXES, TEXT, Pictures, Sounds
from ssl_jax.data.sources.pictures import Decoding
from ssl_jax.data.sources.texts import decoded
from ssl_jax.errors import UserError
from ssl_jax.evaluate.baselines import Lenient
from ssl_jax.evaluate.encoders import Found, encoder_in
from ssl_jax.evaluate.features import extract, unlabelled
from ssl_jax.evaluate.neighbours import neighbours
from ssl_jax.evaluate.online import names_of
from ssl_jax.evaluate.progress import Tick, unheard
from ssl_jax.evaluate.prompts import records_of
from ssl_jax.evaluate.reader import Reader, there
from ssl_jax.evaluate.readings import OWN
from ssl_jax.evaluate.run import cache_of
from ssl_jax.training.reopen import Opened

SHARED = "_embedding"  # how encoders into a space that several share are named


@dataclass(frozen=True)
class Hits:
    """What lies nearest to a query, nearest first: numbers of records, their files or names, and their cosines."""

    asked: Found  # what encoded the query
    searched: Found  # what encoded the index
    record: Record  # of the query
    ids: tuple[int, ...]
    names: tuple[str, ...]
    texts: tuple[str, ...]  # "" of a record without one
    cosines: tuple[float, ...]
    among: int


def search(
    opened: Opened,
    query: str,
    index: Any,
    count: int = 10,
    against: str = "",
    heard: Callable[[str], Tick] = lambda title: unheard,
) -> Hits:
    """The `count` records of the source `index` nearest to `query`, a text or the path of a picture, sound or text.

    Records of the index are read by the encoder `against`; "" for the first that can, if possible not the query's. Their features
    are kept in the run directory.

    Raises:
      UserError: a query or an index that no encoder of the run reads.
    """
    encoders = [encoder_in(opened, name) for name in _names(opened)]
    asked, record = _asked(encoders, query, opened)
    searched = _searched(encoders, asked, index, against)
    bank, ids = _bank(searched, index, heard)
    x = extract(asked.encoder, asked.variables, Arrays(_batched(record))).x
    cosines, rows = neighbours(bank, np.asarray(x), min(count, len(bank)))
    found = tuple(int(ids[row]) for row in rows[0])
    named, told = (tuple(_told(index, about, i) for i in found) for about in ("file_of", "text_of"))
    name_of = getattr(index, "name_of", str)
    names = tuple(name or name_of(i) for name, i in zip(named, found, strict=True))
    return Hits(asked, searched, record, found, names, told, tuple(map(float, cosines[0])), len(bank))


def lines(hits: Hits) -> list[str]:
    """What is printed: rank, cosine, name and text."""
    rows = zip(hits.cosines, hits.names, hits.texts, strict=True)
    return [f"{rank:3d}  {cosine:6.3f}  {name}  {text}".rstrip() for rank, (cosine, name, text) in enumerate(rows, 1)]


def _names(opened: Opened) -> list[str]:
    """Encoders into a shared space, or else those that the recipe evaluates."""
    shared = [name for name in opened.objective.encoders() if name.endswith(SHARED)]
    return shared or list(names_of(opened.recipe.evaluate.encoder))


def _asked(encoders: Sequence[Found], query: str, opened: Opened) -> tuple[Found, Record]:
    """The encoder that reads the query, and the query as its record."""
    path = Path(query)
    if not path.is_file():
        return _of_text(encoders, query)
    kind = next((kind for kind, suffixes in SUFFIXES.items() if path.suffix[1:].lower() in suffixes), None)
    content = _content(path)
    if kind == TEXT:
        return _of_text(encoders, decoded(content).strip())
    record = {} if kind is None else _read(kind, content, opened, path)
    for found in encoders:
        if record and _reads(found, record):
            return found, record
    told = ", ".join(found.name for found in encoders)
    raise UserError(f"--query {query}: no encoder of the run reads such a file; it has {told}")


def _of_text(encoders: Sequence[Found], text: str) -> tuple[Found, Record]:
    if not text.strip():
        raise UserError("--query is empty; write what to look for, or name a file")
    for found in encoders:
        with suppress(UserError):
            return found, {name: rows[0] for name, rows in records_of(found.encoder, [text]).items()}
    raise UserError(
        f"--query {text[:80]!r} is no file, and the run has no encoder of texts; name a file, or another run"
    )


def _content(path: Path) -> bytes:
    try:
        return files.read(path)
    except (OSError, ValueError) as error:
        raise UserError(f"--query {path} cannot be read ({error}); name another file") from error


def _read(kind: str, content: bytes, opened: Opened, path: Path) -> Record:
    """A file as a record like those that were learned from; {} where these have nothing of the kind."""
    fields = opened.records.fields
    try:
        if kind == "image" and "image" in fields:
            size, _, channels = fields["image"].shape
            return Pictures(Decoding(size, channels, MAX_PIXELS, None))(content)
        rate = _rate(opened.objective.augment)
        if kind == "sound" and "wave" in fields and rate:
            return Sounds(rate, fields["wave"].shape[0] / rate)(content)
    except (ValueError, OSError, SyntaxError) as error:
        raise UserError(f"--query {path} cannot be decoded ({error}); name another file") from error
    return {}


def _rate(augment: Any) -> int:
    """Samples a second that an augmentation, or one of its parts, takes; 0 where none says it."""
    parts = (augment, *getattr(augment, "parts", {}).values())
    return next((int(part.rate) for part in parts if hasattr(part, "rate")), 0)


def _searched(encoders: Sequence[Found], asked: Found, index: Any, against: str) -> Found:
    """The encoder of the index's records."""
    record = BadRecords(1.0).read(index, 0)[1]
    able = [found for found in encoders if _reads(found, record)]
    named = [found for found in able if not against or found.name.removesuffix(SHARED) == against.removesuffix(SHARED)]
    if not named:
        told = ", ".join(found.name.removesuffix(SHARED) for found in able) or "none"
        fields, who = ", ".join(record), against or "no encoder of the run"
        raise UserError(f"--index: its records have {fields}, which {who} does not read; those that do: {told}")
    return next((found for found in named if found.name != asked.name), named[0])


def _reads(found: Found, record: Mapping[str, Any]) -> bool:
    """Whether an encoder is given all that it needs by such a record."""
    with suppress(KeyError, UserError):
        jax.eval_shape(found.encoder.preprocess, unlabelled(_batched(record)))
        return True
    return False


def _batched(record: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A batch of one record, of its numbers."""
    arrays = {name: np.asarray(value)[None] for name, value in record.items()}
    return {name: x for name, x in arrays.items() if x.dtype.kind in "biuf"}


def _bank(found: Found, index: Any, heard: Callable[[str], Tick]) -> tuple[np.ndarray, np.ndarray]:
    """Features [N, F] of the index, and the number of the record that each row is."""
    opened = found.opened
    reader = Reader(
        tolerance=Lenient(opened.recipe.data.max_bad_fraction), cache=cache_of(opened.workdir, opened.recipe),
        mesh=opened.mesh, heard=heard,
    )  # fmt: skip
    made = reader.features({"x": there(found.encoder, found.variables, found.identity)}, index, "index")[("x", OWN)]
    return made.x, made.ids


def _told(index: Any, about: str, number: int) -> str:
    """What a source tells of a record by its method `about`; "" where it has none, or nothing to tell."""
    with suppress(ValueError, OSError):
        return str(getattr(index, about, lambda i: "")(number))
    return ""
