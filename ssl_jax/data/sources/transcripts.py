"""Texts beside records as rows of symbols, for learning to write down what is said."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssl_jax.data.sources.base import Record, Source, labels_named
from ssl_jax.data.sources.subset import Chosen, require_source
from ssl_jax.errors import UserError

BETWEEN = ("", " ")  # the blank, which fills rows up, and what stands between words
LETTERS = "abcdefghijklmnopqrstuvwxyz'"


@dataclass(frozen=True, eq=False)
class Transcripts(Chosen):
    """The records of `source`, each with `symbols` int32 [length]: its text in lower case, 0 behind it.

    Symbol 1 stands between words, symbol 2 + i is `characters[i]`. Accents that `characters` lacks are taken off, and what it
    still lacks stands between words. A text that is a string is no field of the record any more.

    Args:
      text: the field that has the text: a string, or the number of one (`AudioList.columns`).
      length: symbols of a row; a longer text is a bad record.

    Raises:
      UserError: a `source` that is none, characters that are there twice, and a `source` that says its labels but not `text`.
    """

    source: Source
    text: str = "text"
    length: int = 64
    characters: str = LETTERS
    ids: np.ndarray = field(init=False, repr=False)
    classes: tuple[str, ...] = field(init=False, repr=False)
    notes: tuple[str, ...] = field(init=False, repr=False)
    labels: dict[str, tuple[str, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        total = len(require_source(self.source))
        if self.length < 1 or len(set(self.characters + " ")) != len(self.characters) + 1:
            raise UserError(
                f"length={self.length}, characters={self.characters!r}: 1 or more, and no character twice or space"
            )
        said = dict(self._said(self.source))
        self._choose(np.arange(total))
        object.__setattr__(self, "labels", {**said, "symbols": (*BETWEEN, *self.characters)})
        if hasattr(self, "batch"):
            object.__delattr__(self, "batch")  # texts are read one by one

    def __getitem__(self, index: int) -> Record:
        record = super().__getitem__(index)
        symbols = self._symbols(self._text_of(record))
        return {name: x for name, x in record.items() if not isinstance(x, str)} | {"symbols": symbols}

    @staticmethod
    def example(source: Record, length: Any = 64, **_: object) -> Record:
        """That of the inner source, with an empty text."""
        return source | {"symbols": np.zeros(length, np.int32)}

    def fingerprint(self) -> str:
        """SHA-256 of the inner fingerprint and the options."""
        told = f"{self.source.fingerprint()} {self.text} {self.length} {self.characters}"
        return hashlib.sha256(told.encode()).hexdigest()

    def _said(self, source: Any) -> dict[str, tuple[str, ...]]:
        """Names of the labels of `source`, those of the field "label" among them."""
        return {"label": tuple(getattr(source, "classes", ()))} | labels_named(source)

    def _text_of(self, record: Record) -> str:
        if self.text not in record:
            raise ValueError(f"the record has no field {self.text!r}")
        value = record[self.text]
        if isinstance(value, str):
            return value
        names = self._said(self.source).get(self.text, ())
        if not 0 <= int(value) < len(names):
            raise ValueError(f"the field {self.text!r} holds no text: {value}")
        return names[int(value)]

    def _symbols(self, text: str) -> np.ndarray:
        found = symbols_of(text, self.characters)
        if len(found) > self.length:
            raise ValueError(f"the text has {len(found)} symbols, and length={self.length}")
        return np.pad(np.asarray(found, np.int32), (0, self.length - len(found)))


def symbols_of(text: str, characters: str) -> list[int]:
    """The symbols of a text; nothing between words at the ends, and one sign between two.

    >>> symbols_of("Öl, so!", "los")
    [3, 2, 1, 4, 3]
    """
    plain = "".join(c if c in characters else unicodedata.normalize("NFKD", c)[0] for c in text.lower())
    found = "".join(c if c in characters else " " for c in plain).split()
    return [1 if c == " " else 2 + characters.index(c) for c in " ".join(found)]
