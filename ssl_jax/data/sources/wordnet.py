"""The text that ships inside the package: the glosses of WordNet 3.0, as tokens.

G. A. Miller, "WordNet: A Lexical Database for English", Communications of the ACM 38(11), 1995. Its licence is kept beside the
data in `wordnet/NOTICE`. `tools/build_wordnet` rebuilds the file from WordNet's own. 93,119 synsets to pretrain on, 14,736 to
probe and 9,804 to test; the same gloss is never in two splits. The label is the lexicographer's file, one of 45.
"""

from __future__ import annotations

import functools
import io
import lzma
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssl_jax.data.sources.arrays import Columns, check_split
from ssl_jax.data.text.rows import Documents, packed, padded
from ssl_jax.data.text.vocabulary import SHIPPED, Vocabulary, digest_of, located, read_tokenizer, vocabulary_of
from ssl_jax.errors import UserError

_FILES = {
    "adj": "all pert",
    "adv": "all",
    "noun": "Tops act animal artifact attribute body cognition communication event feeling food group location motive object "
    "person phenomenon plant possession process quantity relation shape state substance time",
    "verb": "body change cognition communication competition consumption contact creation emotion motion perception "
    "possession social stative weather",
}
CLASSES = (*(f"{part}.{name}" for part, all_ in _FILES.items() for name in all_.split()), "adj.ppl")
SPLITS = ("pretrain", "probe", "test")
_MAX_BYTES = 64 << 20


@functools.cache
def vocabulary() -> Vocabulary:
    """The vocabulary of these texts: a byte-level BPE of 4,096 tokens, 32 sentinels among them."""
    return vocabulary_of(read_tokenizer(SHIPPED))


class _OfWordNet(Columns):
    """Base of sources of these texts."""

    @property
    def tokenizer_digest(self) -> str:
        """SHA-256 of the tokenizer that ships."""
        return digest_of(SHIPPED)


@dataclass(frozen=True, eq=False)
class Glosses(_OfWordNet):
    """A gloss in each record: `tokens` int32 [length], between the signs of start and end, cut or padded; `label` int32.

    Of the glosses one in fifty has more than 62 tokens.
    """

    split: str = "pretrain"
    length: int = 64
    limit: int | None = None

    def __post_init__(self) -> None:
        check_split(self.split, SPLITS)
        glosses, label = _documents(self.split, "gloss"), _arrays()[f"{self.split}_label"]
        count = _count(self.limit, len(glosses))
        rows = padded(Documents(glosses.flat, glosses.starts[: count + 1]), vocabulary(), self.length)
        self._set({"tokens": rows, "label": label[:count]}, CLASSES, None)


@dataclass(frozen=True, eq=False)
class PackedGlosses(_OfWordNet):
    """Rows of `length` tokens that hold whole glosses beside one another: `tokens`, `segments`, `positions` int32 [length].

    Glosses stand in the order of the split; one that is longer than a row is cut.
    """

    split: str = "pretrain"
    length: int = 128
    limit: int | None = None

    def __post_init__(self) -> None:
        check_split(self.split, SPLITS)
        glosses = _documents(self.split, "gloss")
        most = _count(self.limit, len(glosses))
        self._set(packed(glosses, vocabulary(), self.length, most), (), None)


@dataclass(frozen=True, eq=False)
class Definitions(_OfWordNet):
    """A term and its gloss in each record: `query` int32 [query_length] and `passage` int32 [length], padded; `label`.

    The term is the first of the synset. `synset` int32 is the place of the gloss among the different glosses here: records with
    the same number are no negatives of one another.
    """

    split: str = "pretrain"
    length: int = 64
    query_length: int = 16
    limit: int | None = None

    def __post_init__(self) -> None:
        check_split(self.split, SPLITS)
        arrays, words = _arrays(), vocabulary()
        terms, glosses = _documents(self.split, "term"), _documents(self.split, "gloss")
        first = np.concatenate([[0], np.cumsum(arrays[f"{self.split}_terms"], dtype=np.int64)[:-1]])
        count = _count(self.limit, len(glosses))
        named = terms.chosen(first[:count])
        glosses = Documents(glosses.flat, glosses.starts[: count + 1])
        columns: dict[str, Any] = {
            "query": padded(named, words, self.query_length),
            "passage": padded(glosses, words, self.length),
            "label": arrays[f"{self.split}_label"][:count],
        }
        columns["synset"] = np.unique(columns["passage"], axis=0, return_inverse=True)[1].astype(np.int32)
        self._set(columns, CLASSES, None)


def _count(limit: int | None, total: int) -> int:
    """How many of `total` there are with a limit. UserError for one below 1."""
    if limit is not None and limit < 1:
        raise UserError(f"limit={limit} leaves no records; use a number of at least 1, or None for all of them")
    return total if limit is None else min(limit, total)


def _documents(split: str, what: str) -> Documents:
    arrays = _arrays()
    return Documents.of(arrays[f"{split}_{what}"], arrays[f"{split}_{what}_length"])


@functools.cache
def _arrays() -> dict[str, np.ndarray]:
    """All arrays of the shipped file, decompressed once a process and read-only."""
    packed = located(SHIPPED).with_name("wordnet.npz.xz").read_bytes()
    data = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=256 << 20).decompress(packed, max_length=_MAX_BYTES)
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = dict(archive)
    for array in arrays.values():
        array.flags.writeable = False
    return arrays
