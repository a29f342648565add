"""A corpus that was tokenised once, by `ssl-jax data tokenize`: files of tokens that are mapped into memory, and their rows."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.sources import manifest
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.beside import load
from ssl_jax.data.text.rows import bins, joined
from ssl_jax.data.text.vocabulary import Vocabulary, read_tokenizer, vocabulary_of
from ssl_jax.errors import UserError

FORMAT = "ssl_jax tokens 1"
TOKENS, DOCUMENTS, TOKENIZER = ".tokens.npy", ".documents.npy", "tokenizer.json"
# Of a document: where its tokens end in its file, how many bytes of UTF-8 it had, and a hash of these.
ENTRY = np.dtype([("end", "<i8"), ("bytes", "<i8"), ("hash", "<u8")])


class Table(NamedTuple):
    """Of each document [D]: where its tokens begin among all tokens of all files, how many there are, its bytes and hash."""

    begin: np.ndarray
    length: np.ndarray
    size: np.ndarray
    key: np.ndarray

    def chosen(self, which: np.ndarray) -> Table:
        """Some of the documents."""
        return Table(*(column[which] for column in self))


@dataclass(frozen=True, eq=False)
class TokenShards:
    """Rows of documents beside one another: `tokens`, `segments` (from 1 on; 0 is padding), `positions`, int32 [length] each.

    `TokenShards("/corpus", 1024)`; as a string, `tokens:/corpus?length=1024`. Any row is read at once, and none depends on
    how many were read before. Tokens stay on the disk; in memory are 48 bytes for each document.

    Args:
      root: what `ssl-jax data tokenize` wrote.
      length: of a row.
      pack: "concat" cuts the stream of all documents, each between its signs, into rows: every token once, no padding but in the
        last row. A document that goes on in the next row has positions from 0 there. "whole" cuts none that a row can hold.
      long: of "whole", what becomes of a document that is longer than a row: "cut", or "refuse".
      split: "train" or "heldout", by the hash of a document: the same text is never in both, whatever the corpus holds; None:
        all documents.
      heldout: the share of documents in "heldout".
      limit: only so many rows.
      vocabulary: ids of signs, as in `TextViews`; those that are not given are read from the tokenizer beside the shards.

    Raises:
      UserError: no such folder, files that are not those of its manifest, a tokenizer without a sign of the end, no document in
        the split, or one that is too long.
    """

    root: str | Path
    length: int = 1024
    pack: Literal["concat", "whole"] = "concat"
    long: Literal["cut", "refuse"] = "cut"
    split: Literal["train", "heldout"] | None = None
    heldout: float = 0.01
    limit: int | None = None
    vocabulary: Mapping[str, int] = field(default_factory=dict)
    words: Vocabulary = field(init=False, repr=False)
    notes: tuple[str, ...] = field(init=False, repr=False)
    _said: dict[str, Any] = field(init=False, repr=False)
    _documents: Table = field(init=False, repr=False)
    _offsets: np.ndarray = field(init=False, repr=False)
    _sizes: np.ndarray = field(init=False, repr=False)
    _ends: np.ndarray = field(init=False, repr=False)
    _starts: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._check()
        said = _manifest(Path(self.root))
        words = vocabulary_of(read_tokenizer(str(Path(self.root) / TOKENIZER)), **self.vocabulary)
        words.require("end", by="a row of several texts")
        documents, offsets = _table(Path(self.root), said)
        kept = documents if self.split is None else documents.chosen(_in(self.split, documents.key, self.heldout))
        if not len(kept.length):
            raise UserError(
                f"split={self.split!r} holds none of {len(documents.length)} documents; change heldout={self.heldout}"
            )
        sizes = kept.length + (words.start is not None) + (words.end is not None)
        if self.pack == "whole":
            sizes = np.minimum(sizes, self.length) if self.long == "cut" else sizes
            firsts = bins(sizes, self.length)
            starts = np.concatenate([[0], np.cumsum(sizes)])[firsts]
        else:
            total = int(sizes.sum())
            starts = np.append(np.arange(0, total, self.length), total)
        for name, value in {
            "words": words,
            "notes": (f"{len(kept.length):,} documents of {int(kept.length.sum()):,} tokens",),
            "_said": said,
            "_documents": kept,
            "_offsets": offsets,
            "_sizes": sizes,
            "_ends": np.cumsum(sizes),
            "_starts": starts[: None if self.limit is None else self.limit + 1],
        }.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        begin, end = int(self._starts[index]), int(self._starts[index + 1])
        first, last = int(np.searchsorted(self._ends, begin, "right")), int(np.searchsorted(self._ends, end, "left"))
        pieces = [self._piece(document, begin, end) for document in range(first, last + 1)]
        return joined(pieces, self.words, self.length)

    def document(self, index: int) -> np.ndarray:
        """The tokens of a document of the split, without signs."""
        return self._read(int(self._documents.begin[index]), int(self._documents.length[index]))

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each document of the split, its signs among them, int [D]."""
        return self._sizes

    @property
    def bytes(self) -> int:
        """How many bytes of UTF-8 the documents of the split had: what bits per byte are counted by."""
        return int(self._documents.size.sum())

    @property
    def largest_token(self) -> int:
        """The largest token of the corpus, which a model's table has to hold."""
        return int(self._said["largest"])

    @property
    def tokenizer_digest(self) -> str:
        """SHA-256 of the tokenizer."""
        return str(self._said["tokenizer"])

    @staticmethod
    def example(length: int = 1024, **_: object) -> Record:
        """A record of zeros, for `ssl-jax plan`: reads nothing."""
        return {name: np.zeros(length, np.int32) for name in ("tokens", "segments", "positions")}

    def name_of(self, index: int) -> str:
        """The place of a row in the stream of documents."""
        return f"tokens {self._starts[index]} to {self._starts[index + 1]}"

    def fingerprint(self) -> str:
        """SHA-256 of the options and the digest of the corpus."""
        options = (self.length, self.pack, self.long, self.split, self.heldout, self.limit, self.words)
        return hashlib.sha256(f"{self._said['digest']} {options}".encode()).hexdigest()

    def _piece(self, document: int, begin: int, end: int) -> np.ndarray:
        """The tokens of a document that lie in [begin, end) of the stream, signs among them."""
        size, start = int(self._sizes[document]), int(self._ends[document] - self._sizes[document])
        low, high = max(begin - start, 0), min(end - start, size)
        lead, tail = int(self.words.start is not None), int(self.words.end is not None)
        inner = max(low - lead, 0), min(high, size - tail) - lead
        tokens = self._read(int(self._documents.begin[document]) + inner[0], max(inner[1] - inner[0], 0))
        opening = [self.words.start] if lead and low == 0 else []
        closing = [self.words.end] if tail and high == size else []
        return np.concatenate([opening, tokens, closing]).astype(np.int32)

    def _read(self, begin: int, count: int) -> np.ndarray:
        if not count:  # of a piece that is a sign alone, which may lie behind the last file
            return np.empty(0, np.int32)
        shard = int(np.searchsorted(self._offsets, begin, "right")) - 1
        mapped = _mapped(str(Path(self.root) / f"{self._said['names'][shard]}{TOKENS}"), self._said["digest"])
        mapped.check()
        at = begin - int(self._offsets[shard])
        return np.asarray(mapped.tokens[at : at + count], np.int32)

    def _check(self) -> None:
        if self.pack not in ("concat", "whole") or self.long not in ("cut", "refuse"):
            raise UserError(f"pack={self.pack!r}, long={self.long!r}: write concat or whole, and cut or refuse")
        if self.split not in (None, "train", "heldout") or not 0 < self.heldout < 1:
            raise UserError(
                f"split={self.split!r}, heldout={self.heldout}: train, heldout or None, and a share between 0 and 1"
            )
        if self.length < 3 or (self.limit is not None and self.limit < 1):
            raise UserError(f"length={self.length}, limit={self.limit}: at least 3 tokens, and 1 row")


def _in(split: str, hashes: np.ndarray, share: float) -> np.ndarray:
    """The documents of a split."""
    out = hashes < np.uint64(share * 2.0**64)
    return np.flatnonzero(out if split == "heldout" else ~out)


def _manifest(root: Path) -> dict[str, Any]:
    """What is said of a corpus, with the `names` of its files. UserError where there is none, or its tokenizer is another."""
    said = manifest.read(root, FORMAT)
    if not said:
        raise UserError(f"{str(root)!r} holds no manifest of tokens; ssl-jax data tokenize SRC --out {root} writes one")
    tokenizer = root / TOKENIZER
    found = hashlib.sha256(tokenizer.read_bytes()).hexdigest() if tokenizer.is_file() else "missing"
    if found != said["tokenizer"]:
        raise UserError(
            f"{str(tokenizer)!r} is not the tokenizer that these tokens were made with; bring that one back"
        )
    names = [name.removesuffix(TOKENS) for part in said["parts"] for name in part["files"] if name.endswith(TOKENS)]
    return {**said, "names": names}


def _table(root: Path, said: Mapping[str, Any]) -> tuple[Table, np.ndarray]:
    """All documents of a corpus, and the number of the first token of each file, and of all."""
    entries = [_entries(root / f"{name}{DOCUMENTS}", said["digest"]) for name in said["names"]]
    offsets = np.cumsum([0, *(int(entry["end"][-1]) for entry in entries)])
    begin = np.concatenate([_begins(entry) + at for entry, at in zip(entries, offsets[:-1], strict=True)])
    length = np.concatenate([entry["end"] - _begins(entry) for entry in entries])
    return Table(begin, length, *(np.concatenate([e[name] for e in entries]) for name in ("bytes", "hash"))), offsets


def _begins(entry: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], entry["end"][:-1]])


def _entries(path: Path, digest: str) -> np.ndarray:
    try:
        found = load(str(path))
    except FileNotFoundError:
        raise UserError(f"{str(path)!r} is not there, and the manifest names it; tokenise again") from None
    ends = found["end"] if found.dtype == ENTRY and found.ndim == 1 and len(found) else np.zeros(1)
    size = _mapped(str(path).removesuffix(DOCUMENTS) + TOKENS, digest).tokens.shape[0]
    if ends[-1] != size or ends[0] < 1 or (np.diff(ends) < 1).any():
        raise UserError(f"{str(path)!r} does not say where the {size} tokens beside it begin and end; tokenise again")
    return found


class _Mapped(NamedTuple):
    tokens: np.ndarray
    check: Any  # that the file is as long as it was: to read a map beyond its end kills the process


@functools.lru_cache(maxsize=1024)
def _mapped(path: str, digest: str) -> _Mapped:
    """The tokens of a file of the corpus that has this digest."""
    try:
        tokens = load(path, mapped=True)
    except FileNotFoundError:
        raise UserError(f"{os.path.basename(path)!r} is not in {os.path.dirname(path)!r}; tokenise again") from None
    if tokens.dtype not in (np.uint16, np.uint32) or tokens.ndim != 1:
        raise UserError(f"{path!r} holds {tokens.dtype} {tokens.shape}, and tokens are uint16 or uint32 [N]")
    return _Mapped(tokens, files.uncut(path))
