"""Texts in plain files, a document per file or line, and in JSON lines."""

from __future__ import annotations

import functools
import glob
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ssl_jax.data.sources import shards
from ssl_jax.data.sources.lines import Spans, lines, spans
from ssl_jax.data.sources.shards import Shard
from ssl_jax.data.sources.texts import LABEL, Document, Fields, Part, Texts, decoded
from ssl_jax.errors import UserError


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
        return {"text": decoded(data)} | ({LABEL: self._folder(shard)} if self.labelled else {})

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
            found = json.loads(decoded(data).removeprefix("\ufeff"))
        except RecursionError as error:
            raise ValueError("the JSON is nested too deeply") from error
        if not isinstance(found, Mapping):
            raise ValueError(f"the line holds no JSON object but {str(found)[:40]!r}")
        return dict(found)
