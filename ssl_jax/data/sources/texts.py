"""Texts in files: a document per file or line, a field of JSON lines, a column of Parquet files.

A source of texts gives records of tokens, as every source does, and before that the texts themselves: `parts(size)` says what can
be read apart from the rest, about `size` bytes each, and `documents(part)` reads it, in constant memory.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ssl_jax.data.sources import shards
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.fields import label_of
from ssl_jax.data.sources.lines import Spans, lines, spans
from ssl_jax.data.sources.shards import Shard
from ssl_jax.data.text.rows import Documents, padded
from ssl_jax.data.text.tokenizer import encoded, load
from ssl_jax.data.text.vocabulary import Vocabulary, digest_of, read_tokenizer, vocabulary_of
from ssl_jax.errors import UserError

Fields = dict[str, Any]
LABEL = "label"
_SEEN = 16  # records that are looked at when a source is opened
_ROWS = 256  # of a row group that become Python's objects at a time


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
        "query:question,passage:answer" takes `query` from `question`. `sentence1,sentence2` is a pair as well.
      label: the field that becomes `label` int32: whole numbers, or names, which are numbered in their order. None: `label`,
        where the first records have it; "" for none. A record without one has -1.
      score: the field that becomes `score` float32, how alike a pair is; "" for none.
      tokenizer: the path of a `tokenizer.json`, or "wordnet"; a recipe's own is `augment.tokenizer`.
      length: tokens of a record. query_length: of the field `query`; None for as many.

    A document that is no UTF-8 or holds nothing but space is a bad record, and so is one without a field that is asked for.
    """

    text: str = "text"
    label: str | None = None
    score: str = ""
    tokenizer: str = ""
    length: int = 128
    query_length: int | None = None

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
        text = _decoded(text) if isinstance(text, bytes) else text
        if not isinstance(text, str):
            raise ValueError(f"the field {name!r} is {'missing' if text is None else 'no text'}")
        if not text.strip():
            raise Empty("the text is empty")
        text.encode()  # half a surrogate pair, which JSON can say, is an error here
        return text

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """That of the tokenizer. UserError where none is given, or it cannot fill a row."""
        if not self.tokenizer:
            raise UserError(
                f"{type(self).__name__} needs tokenizer=PATH/tokenizer.json, or a recipe whose augment.tokenizer says it; "
                "ssl-jax data tokenize makes one"
            )
        words = vocabulary_of(read_tokenizer(self.tokenizer))
        words.require("pad", by="a row of one text")
        return words

    @property
    def tokenizer_digest(self) -> str:
        """SHA-256 of the tokenizer; "" where none is given."""
        return digest_of(self.tokenizer) if self.tokenizer else ""

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in their order, where labels are names: found by reading all records."""
        given = {value for value in self._labels or () if isinstance(value, str)}
        return tuple(sorted(given))

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
        ids = encoded(load(self.tokenizer), self.text_of(fields, old), length) if self.vocabulary else []
        return padded(Documents.of(np.array(ids, np.int32), np.array([len(ids)])), self.vocabulary, length)[0]

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
        told = (self.text, self.label, self.score, self.tokenizer_digest, self.length, self.query_length)
        return hashlib.sha256(f"{told}\n".encode())


@dataclass(frozen=True, eq=False, kw_only=True)
class _InFiles(Texts):
    """Base of texts that are stretches of bytes."""

    @functools.cached_property
    def shards(self) -> tuple[Shard, ...]:
        """The files."""
        raise NotImplementedError

    @functools.cached_property
    def spans(self) -> Spans:
        """Where every record lies."""
        return spans(self.shards)

    def parsed(self, shard: int, data: bytes) -> Fields:
        """The fields of a record from its bytes. ValueError for what is none."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.spans.shard)

    def raw(self, index: int) -> Fields:
        """The fields of record `index` as they stand there. ValueError for what cannot be read."""
        shard, begin, end = (int(each[index]) for each in self.spans)
        return self.parsed(shard, shards.read_at(self.shards[shard], begin, end - begin))

    def parts(self, size: int) -> list[Part]:
        """Stretches of the files, of `size` bytes at most."""
        found = enumerate(self.shards)
        return [Part(i, i + 1, at, min(at + size, s.size)) for i, s in found for at in range(0, s.size, size)]

    def documents(self, part: Part) -> Iterator[Document]:
        """The lines that begin in a stretch."""
        for at, line in lines(self.shards[part.first], part.start, part.stop):
            yield self._document(part.first, f" at byte {at}", line)

    def name_of(self, index: int) -> str:
        """The file of a record, and where it begins."""
        shard, begin, _ = (int(each[index]) for each in self.spans)
        return f"{self.shards[shard].name} at byte {begin}"

    def fingerprint(self) -> str:
        """SHA-256 of the options, and names, sizes and both ends of the files."""
        digest = self._digest()
        shards.see(digest, self.shards)
        return digest.hexdigest()

    def _document(self, shard: int, where: str, data: bytes) -> Document:
        name = self.shards[shard].name + where
        try:
            return Document(name, self.parsed(shard, data))
        except ValueError as error:
            return Document(name, None, str(error))


@dataclass(frozen=True, eq=False)
class TextFiles(_InFiles):
    """Plain texts: `TextFiles("/books", tokenizer="tok/tokenizer.json")`; as a string, `text:/books` or `text:/a.txt?per=line`.

    Args:
      root: a folder, of which all files with the suffix are read, at any depth and in the order of their paths; a file, or a
        pattern such as `/books/*.md`.
      per: "file" for a document per file, "line" for one per line; lines without a letter are none.
      suffix: of the files that are read in a folder.
      labelled: the folder below `root` that a file lies in is its label.
      text, label, tokenizer, length: as in `Texts`.

    Raises:
      UserError: no such files, or only empty ones.
    """

    root: str | Path
    per: Literal["file", "line"] = "file"
    suffix: str = ".txt"
    labelled: bool = False

    def __post_init__(self) -> None:
        if self.per not in ("file", "line"):
            raise UserError(f"per={self.per!r}: a document per 'file' or per 'line'")
        if self.labelled and not os.path.isdir(self.root):
            raise UserError(f"labelled=True takes labels from the folders in {str(self.root)!r}, which is no folder")
        super().__post_init__()

    @functools.cached_property
    def has(self) -> tuple[str, ...]:
        """The fields of every record."""
        return ("text", LABEL) if self.labelled else ("text",)

    @functools.cached_property
    def shards(self) -> tuple[Shard, ...]:
        """The files, at any depth."""
        root = os.path.abspath(self.root) if "://" not in str(self.root) else os.fspath(self.root)
        inside = (
            sorted(glob.iglob(f"{glob.escape(root)}/**/*{self.suffix}", recursive=True)) if os.path.isdir(root) else []
        )
        found = (
            shards.of(inside)
            if inside
            else shards.find(root, self.suffix, f"files of text ({self.suffix}, or suffix=)")
        )
        if not sum(shard.size for shard in found):
            raise UserError(f"{root!r} holds {len(found)} files of text, and all are empty; name others")
        return found

    @functools.cached_property
    def spans(self) -> Spans:
        """Where every record lies."""
        if self.per == "line":
            return spans(self.shards)
        sizes = np.array([shard.size for shard in self.shards])
        return Spans(np.arange(len(sizes), dtype=np.int32), np.zeros_like(sizes), sizes)

    def parsed(self, shard: int, data: bytes) -> Fields:
        """The text, and its label."""
        return {"text": _decoded(data)} | ({LABEL: self._folder(shard)} if self.labelled else {})

    def parts(self, size: int) -> list[Part]:
        """Stretches of lines, or files that have about `size` bytes together."""
        if self.per == "line":
            return super().parts(size)
        number = (np.cumsum([shard.size for shard in self.shards]) - 1) // size
        firsts = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(number)]
        return [Part(first, last, 0, 0) for first, last in pairwise(firsts)]

    def documents(self, part: Part) -> Iterator[Document]:
        """The lines of a stretch, or whole files."""
        if self.per == "line":
            yield from super().documents(part)
            return
        for shard in range(part.first, part.last):
            try:
                data = shards.read_at(self.shards[shard], 0, self.shards[shard].size)
            except (OSError, ValueError) as error:
                yield Document(self.shards[shard].name, None, str(error))
            else:
                yield self._document(shard, "", data)

    def name_of(self, index: int) -> str:
        """The path of a file, and where a line begins."""
        shard, begin, _ = (int(each[index]) for each in self.spans)
        path = (
            os.path.relpath(self.shards[shard].path, self.root) if os.path.isdir(self.root) else self.shards[shard].name
        )
        return path if self.per == "file" else f"{path} at byte {begin}"

    def fingerprint(self) -> str:
        """SHA-256 of the options, and names, sizes and both ends of the files."""
        return hashlib.sha256(f"{super().fingerprint()} {self.per} {self.labelled}".encode()).hexdigest()

    @functools.cached_property
    def _labels(self) -> list[Any] | None:
        return [self._folder(shard) for shard in self.spans.shard] if self.labelled else None

    def _folder(self, shard: int) -> str:
        path = os.path.relpath(self.shards[shard].path, self.root)
        if os.sep not in path:
            raise UserError(
                f"{path!r} lies in no folder of {str(self.root)!r}, and labelled=True takes labels from these"
            )
        return path.partition(os.sep)[0]


@dataclass(frozen=True, eq=False)
class JsonLines(_InFiles):
    """A JSON object a line: `JsonLines("/data/*.jsonl", text="body")`; as a string, `jsonl:/data/a.jsonl?text=body&label=topic`.

    Args:
      files: a path, a folder, or a pattern.
      text, label, score, tokenizer, length, query_length: as in `Texts`.

    Raises:
      UserError: no such files, or none of the first records has a field that is asked for.
    """

    files: str | Path

    @functools.cached_property
    def shards(self) -> tuple[Shard, ...]:
        """The files."""
        return shards.find(self.files, ".jsonl", "files of JSON lines, as in jsonl:/data/*.jsonl")

    def parsed(self, shard: int, data: bytes) -> Fields:
        """The object of a line."""
        try:
            found = json.loads(_decoded(data).removeprefix("\ufeff"))
        except RecursionError as error:
            raise ValueError("the JSON is nested too deeply") from error
        if not isinstance(found, Mapping):
            raise ValueError(f"the line holds no JSON object but {str(found)[:40]!r}")
        return dict(found)


@dataclass(frozen=True, eq=False)
class ParquetTexts(Texts):
    """Columns of Parquet files: `ParquetTexts("/hf/*.parquet", text="body")`; `parquet_text:/hf/*.parquet?text=body`.

    Needs `pip install ssl_jax[hf]`. Row groups are read whole, and some kept, as `Parquet` does.

    Args:
      files: a path, a folder, or a pattern.
      text, label, score, tokenizer, length, query_length: as in `Texts`.

    Raises:
      UserError: no such files or columns, or files that are damaged.
    """

    files: str | Path

    @functools.cached_property
    def shards(self) -> tuple[Shard, ...]:
        """The files."""
        return shards.find(self.files, ".parquet", "Parquet files, as in parquet_text:/hf/*.parquet")

    @functools.cached_property
    def groups(self) -> list[tuple[int, int, int]]:
        """Shard, number and records of each row group."""
        from ssl_jax.data.sources.parquet import rows_of

        return [(s, g, rows) for s, shard in enumerate(self.shards) for g, rows in enumerate(rows_of(shard))]

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """The number of the first record of each row group, and of all."""
        return np.cumsum([0, *(rows for _, _, rows in self.groups)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def raw(self, index: int) -> Fields:
        """The columns of record `index` that are asked for."""
        place = shards.place_of(self.starts, index)
        return self._rows(place.shard, place.row, place.row + 1)[0]

    def parts(self, size: int) -> list[Part]:
        """Row groups, one each: they are what can be read apart."""
        return [Part(i, i + 1, 0, rows) for i, (_, _, rows) in enumerate(self.groups)]

    def documents(self, part: Part) -> Iterator[Document]:
        """The records of a row group."""
        first = int(self.starts[part.first])
        for row in range(part.start, part.stop, _ROWS):
            for i, read in enumerate(self._read(part.first, row, min(row + _ROWS, part.stop)), first + row):
                fields, reason = (read, "") if isinstance(read, dict) else (None, str(read))
                yield Document(self.name_of(i), fields, reason)

    def name_of(self, index: int) -> str:
        """The file of a record, its row group, and its number there."""
        place = shards.place_of(self.starts, index)
        shard, group, _ = self.groups[place.shard]
        return f"{self.shards[shard].name} group {group} row {place.row}"

    def fingerprint(self) -> str:
        """SHA-256 of the options, and names, sizes, counts and both ends of the files."""
        digest = self._digest()
        digest.update(f"{self.starts.tolist()}\n".encode())
        shards.see(digest, self.shards)
        return digest.hexdigest()

    def _rows(self, group: int, first: int, last: int) -> list[Fields]:
        from ssl_jax.data.sources.parquet import GROUPS

        shard, number, _ = self.groups[group]
        return GROUPS.table(self.shards[shard], number, self._columns).slice(first, last - first).to_pylist()

    def _read(self, group: int, first: int, last: int) -> list[Fields | ValueError]:
        """Records of a row group, and for those that cannot be read why."""
        try:
            return [*self._rows(group, first, last)]
        except ValueError as error:
            if last - first == 1:
                return [error]
            return [read for row in range(first, last) for read in self._read(group, row, row + 1)]

    @functools.cached_property
    def has(self) -> tuple[str, ...]:
        """The columns."""
        from ssl_jax.data.sources.parquet import schema_of

        return tuple(schema_of(self.shards[0]).names)

    @functools.cached_property
    def _columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(dict.fromkeys([*self.names.values(), *filter(None, (self.label_field, self.score))]))


def _decoded(data: bytes) -> str:
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
    pairs = [word.strip().partition(":") for word in text.split(",")]
    return {"tokens": pairs[0][2] or pairs[0][0]} if len(pairs) == 1 else {new: old or new for new, _, old in pairs}
