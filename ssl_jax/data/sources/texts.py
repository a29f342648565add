"""Texts: what every source of them has, whatever files they lie in.

A source of texts gives records of tokens, as every source does, and before that the texts themselves: `parts(size)` says what can
be read apart from the rest, about `size` bytes each, and `documents(part)` reads it, in constant memory.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.fields import label_of
from ssl_jax.data.text.rows import Documents, padded
from ssl_jax.data.text.tokenizer import encoded, load
from ssl_jax.data.text.vocabulary import Vocabulary, digest_of, read_tokenizer, vocabulary_of
from ssl_jax.errors import UserError

Fields = dict[str, Any]
LABEL = "label"
_SEEN = 16  # records that are looked at when a source is opened


class Empty(ValueError):
    """A document that holds nothing but space."""


class Part(NamedTuple):
    """What can be read apart from the rest: the files [first, last), or the stretch [start, stop) of a single one."""

    first: int
    last: int
    start: int
    stop: int


class Document(NamedTuple):
    """What a person calls a document, and its fields; or why there are none."""

    name: str
    fields: Fields | None
    reason: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Texts:
    """Base of sources of texts: records of `tokens` int32 [length], between the signs of start and end, cut or padded.

    Args:
      text: the field of the texts. Several, "query,passage", become records with a field of tokens each instead of `tokens`;
        "query:question,passage:answer" takes `query` from `question`. `sentence1,sentence2` is a pair as well. "" for none: then
        only `raw` is of use.
      label: the field that becomes `label` int32: whole numbers, or names, which are numbered in their order. None: `label`,
        where the first records have it; "" for none. A record without one has -1.
      score: the field that becomes `score` float32, how alike a pair is; "" for none.
      tokenizer: the path of a `tokenizer.json`, or "wordnet"; a recipe's own is `augment.tokenizer`.
      vocabulary: ids of signs, as in `TextViews`; those that are not given are read from the tokenizer.
      length: tokens of a record. query_length: of the field `query`; None for as many.

    A document that is no UTF-8 or holds nothing but space is a bad record, and so is one without a field that is asked for.
    """

    text: str = "text"
    label: str | None = None
    score: str = ""
    tokenizer: str = ""
    length: int = 128
    query_length: int | None = None
    vocabulary: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.length < 3 or (self.query_length or 3) < 3:
            raise UserError(
                f"length={self.length}, query_length={self.query_length}: at least 3, for a token and its signs"
            )
        self._require_fields()

    def __len__(self) -> int:
        raise NotImplementedError

    def raw(self, index: int) -> Fields:
        """The fields of record `index` as they stand there. ValueError for what cannot be read."""
        raise NotImplementedError

    def parts(self, size: int) -> list[Part]:
        """All records in stretches of about `size` bytes, in order."""
        raise NotImplementedError

    def documents(self, part: Part) -> Iterator[Document]:
        """The records of one of `parts`, in order."""
        raise NotImplementedError

    @functools.cached_property
    def names(self) -> dict[str, str]:
        """Field of a record -> field of a file, of its texts."""
        return _names(self.text)

    def text_of(self, fields: Fields, name: str) -> str:
        """The text in a field. ValueError where there is none."""
        text = fields.get(name)
        text = decoded(text) if isinstance(text, bytes) else text
        if not isinstance(text, str):
            raise ValueError(f"the field {name!r} is {'missing' if text is None else 'no text'}")
        if not text.strip():
            raise Empty("the text is empty")
        text.encode()  # half a surrogate pair, which JSON can say, is an error here
        return text

    @functools.cached_property
    def words(self) -> Vocabulary:
        """That of the tokenizer. UserError where none is given, or it cannot fill a row."""
        if not self.tokenizer:
            raise UserError(
                f"{type(self).__name__} needs tokenizer=PATH/tokenizer.json, or a recipe whose augment.tokenizer says it; "
                "ssl-jax data tokenize makes one"
            )
        words = vocabulary_of(read_tokenizer(self.tokenizer), **self.vocabulary)
        words.require("pad", by="a row of one text")
        return words

    @property
    def tokenizer_digest(self) -> str:
        """SHA-256 of the tokenizer; "" where none is given."""
        return digest_of(self.tokenizer) if self.tokenizer else ""

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in their order, where labels are names: found by reading all records."""
        given = [value for value in self._labels or () if value is not None]
        names = sorted({value for value in given if isinstance(value, str)})
        number = next((value for value in given if isinstance(value, int)), None)
        if names and number is not None:
            raise UserError(
                f"{self.label_field!r} holds names, {names[0]!r} among them, and {number!r}; write all labels as names, or "
                "as numbers"
            )
        return tuple(names)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        fields = self.raw(index)
        record: Record = {new: self._tokens(fields, new, old) for new, old in self.names.items()}
        if self.label_field:
            record[LABEL] = label_of(fields.get(self.label_field), self.classes)
        return record | ({"score": _number(fields, self.score)} if self.score else {})

    def values(self, name: str) -> np.ndarray | None:
        """All labels [N]; None for other fields, and where one is no label."""
        if name != LABEL or self._labels is None:
            return None
        try:
            return np.array([label_of(value, self.classes) for value in self._labels], np.int32)
        except ValueError:  # which record it is, reading says
            return None

    @staticmethod
    def example(length: int = 128, text: str = "text", query_length: int | None = None, **_: object) -> Record:
        """A record of zeros for `ssl-jax plan`: reads nothing."""
        names = _names(text)
        rows = {name: np.zeros((query_length if name == "query" else None) or length, np.int32) for name in names}
        return rows | {LABEL: np.zeros((), np.int32)}

    def name_of(self, index: int) -> str:
        """What a person calls the record."""
        return str(index)

    def fingerprint(self) -> str:
        """SHA-256 in hex of the options and the records."""
        raise NotImplementedError

    @functools.cached_property
    def label_field(self) -> str:
        """The field that holds labels; "" for none."""
        if self.label is not None:
            return self.label
        return LABEL if LABEL in self.has else ""

    @functools.cached_property
    def has(self) -> tuple[str, ...]:
        """The fields of the first records; () where none of them can be read."""
        first = islice((each for part in self.parts(1 << 20)[:1] for each in self.documents(part)), _SEEN)
        return tuple(dict.fromkeys(name for document in first for name in document.fields or ()))

    @functools.cached_property
    def _labels(self) -> list[Any] | None:
        """What all records have for a label, None for one without or one that cannot be read; None where there are none."""
        if not self.label_field:
            return None
        every = (document for part in self.parts(1 << 26) for document in self.documents(part))
        return [None if one.fields is None else one.fields.get(self.label_field) for one in every]

    def _tokens(self, fields: Fields, new: str, old: str) -> np.ndarray:
        length = (self.query_length if new == "query" else None) or self.length
        return row_of(self.text_of(fields, old), self.tokenizer, self.words, length)

    def _require_fields(self) -> None:
        """UserError where a field that is asked for is in none of the first records that can be read."""
        wanted = [*self.names.values(), *filter(None, (self.label, self.score))]
        missing = [name for name in wanted if name not in self.has] if self.has else []
        if missing:
            raise UserError(
                f"the first records have no field {missing[0]!r}; they have {', '.join(map(repr, self.has))}: name one of "
                "them, as in ?text=body&label=topic"
            )

    def _digest(self) -> Any:
        """A SHA-256 that has seen the options."""
        signs = sorted(self.vocabulary.items())
        told = (self.text, self.label, self.score, self.tokenizer_digest, signs, self.length, self.query_length)
        return hashlib.sha256(f"{told}\n".encode())


def row_of(text: str, tokenizer: str, words: Vocabulary, length: int) -> np.ndarray:
    """The tokens int32 [length] of a text between its signs, cut or padded."""
    ids = encoded(load(tokenizer), text, length)
    return padded(Documents.of(np.array(ids, np.int32), np.array([len(ids)])), words, length)[0]


def decoded(data: bytes) -> str:
    """A document from its bytes. ValueError for what is no UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"no UTF-8 at byte {error.start} of the document; write it again as UTF-8") from error


def _number(fields: Fields, name: str) -> np.ndarray:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"the field {name!r} is {'missing' if value is None else 'no number'}")
    return np.asarray(value, np.float32)


def _names(text: str) -> dict[str, str]:
    """Field of a record -> field of a file, from the option `text`."""
    if not text:
        return {}
    pairs = [word.strip().partition(":") for word in text.split(",")]
    return {"tokens": pairs[0][2] or pairs[0][0]} if len(pairs) == 1 else {new: old or new for new, _, old in pairs}
