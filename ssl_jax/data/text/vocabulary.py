"""What a model has to know of a tokenizer: how many tokens there are, which ids are signs, where words begin."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ssl_jax.data import files
from ssl_jax.errors import UserError

SHIPPED = "wordnet"
_SHIPPED = {
    SHIPPED: "wordnet/tokenizer.json",
    "fashion": "fashion_mnist/tokenizer.json",
}  # name -> file: glosses, descriptions
_MOST = 1 << 24  # tokens of a vocabulary
# What the signs are called in the tokenizers of BERT, RoBERTa and BART, GPT-2, Llama and T5, the usual one first.
SIGNS: dict[str, tuple[str, ...]] = {
    "pad": ("[PAD]", "<pad>"),
    "mask": ("[MASK]", "<mask>"),
    "start": ("[CLS]", "<s>", "<|startoftext|>"),
    "end": ("[SEP]", "</s>", "<|endoftext|>"),
    "unknown": ("[UNK]", "<unk>"),
}


@dataclass(frozen=True)
class Vocabulary:
    """`size` tokens, and the ids of those that are signs; None for one that a tokenizer does not have.

    pad: fills rows. mask: stands for a hidden token. start, end: around a text (`end` also stands between two). unknown: for
    what has no token. `sentinels` ids count down from `size - 1` (T5), and stand for hidden spans.
    """

    size: int
    pad: int | None = None
    mask: int | None = None
    start: int | None = None
    end: int | None = None
    unknown: int | None = None
    sentinels: int = 0

    def __post_init__(self) -> None:
        for name in SIGNS:
            value = getattr(self, name)
            if value is not None and not 0 <= value < self.size:
                raise UserError(f"vocabulary.{name}={value} is no token of {self.size}; ids begin at 0")

    @property
    def signs(self) -> tuple[int, ...]:
        """The ids of all signs."""
        named = (getattr(self, name) for name in SIGNS)
        return (*(i for i in named if i is not None), *range(self.size - self.sentinels, self.size))

    def require(self, *names: str, by: str) -> None:
        """UserError for the first sign of `names` that is not there, although `by` needs it."""
        for name in names:
            if getattr(self, name) is None:
                raise UserError(
                    f"{by} needs the token {name!r}, and the tokenizer has none ({' or '.join(SIGNS[name])}); add it when "
                    "the tokenizer is trained, or name its id in augment.vocabulary"
                )


def vocabulary_of(tokenizer: Mapping[str, Any], **ids: int) -> Vocabulary:
    """The vocabulary of a `tokenizer.json`, read as data; `ids` win."""
    known = tokens_of(tokenizer)
    found = {name: next((known[word] for word in words if word in known), None) for name, words in SIGNS.items()}
    sentinels = sum(f"<extra_id_{i}>" in known for i in range(len(known)))
    return Vocabulary(**{"size": 1 + max(known.values()), **found, "sentinels": sentinels, **ids})  # type: ignore[arg-type]


def word_starts(tokenizer: Mapping[str, Any]) -> np.ndarray:
    """Bool [V]: the tokens that begin a word. A WordPiece that goes on begins with `##`; other tokenizers mark a beginning."""
    known = tokens_of(tokenizer)
    starts = np.ones(1 + max(known.values()), bool)
    prefix = tokenizer["model"].get("continuing_subword_prefix") or ""
    marks = ("\u0120", "\u2581")  # a space, as byte-level BPE and SentencePiece write it
    marked = any(token.startswith(marks) for token in known)
    for token, i in known.items():
        starts[i] = not token.startswith(prefix) if prefix else not marked or token.startswith(marks)
    return starts


def token_bytes(tokenizer: Mapping[str, Any]) -> np.ndarray:
    """Int32 [V]: the bytes of UTF-8 that each token stands for; 0 for a sign.

    Exact for byte-level BPE and SentencePiece. WordPiece forgets how many spaces stood before a word: one is counted.
    """
    known, signs = tokens_of(tokenizer), {added["content"] for added in tokenizer.get("added_tokens", ())}
    prefix = tokenizer["model"].get("continuing_subword_prefix") or ""
    byte_level = "ByteLevel" in json.dumps([tokenizer.get("pre_tokenizer"), tokenizer.get("decoder")])
    sizes = np.zeros(1 + max(known.values()), np.int32)
    for token, i in known.items():
        if token not in signs:
            word = token.removeprefix(prefix) if prefix else token.replace("\u2581", " ")
            sizes[i] = len(word) if byte_level else len(word.encode()) + bool(prefix and word == token)
    return sizes


def sentence_ends(tokenizer: Mapping[str, Any]) -> np.ndarray:
    """Bool [V]: the tokens that end a sentence, or a part of one behind a semicolon."""
    known = tokens_of(tokenizer)
    ends = np.zeros(1 + max(known.values()), bool)
    ends[[i for token, i in known.items() if token.endswith((".", "!", "?", ";"))]] = True
    return ends


def tokens_of(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    """The id of each token."""
    model = tokenizer["model"]["vocab"]
    words = {token: i for i, (token, _) in enumerate(model)} if isinstance(model, list) else dict(model)
    return words | {added["content"]: added["id"] for added in tokenizer.get("added_tokens", ())}


assert set(SIGNS) < {f.name for f in fields(Vocabulary)}


def located(name: str) -> Path:
    """The file of a tokenizer: one of those that ship, by the name "wordnet" or "fashion", or the one at this path."""
    if name in _SHIPPED:
        return Path(str(importlib.resources.files("ssl_jax.data").joinpath(_SHIPPED[name])))
    return Path(name)


@cache
def digest_of(name: str) -> str:
    """SHA-256 of a `tokenizer.json`, in hex. UserError for a file that is none."""
    read_tokenizer(name)
    return hashlib.sha256(located(name).read_bytes()).hexdigest()


@cache
def read_tokenizer(name: str) -> dict[str, Any]:
    """A `tokenizer.json` as data. UserError for a file that is none."""
    path = located(name)
    try:
        found = json.loads(files.read(path).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no tokenizer.json ({error}); make one with ssl-jax data tokenize") from error
    if not isinstance(found, dict) or not isinstance(found.get("model"), dict) or "vocab" not in found["model"]:
        raise UserError(f"{path} has no model.vocab; it must be a tokenizer.json as Hugging Face's tokenizers write it")
    _require_ids(found, path)
    return found


def _require_ids(tokenizer: Mapping[str, Any], path: Path) -> None:
    """UserError for a file that does not give each of its tokens a number."""
    try:
        ids = list(tokens_of(tokenizer).values())
    except (TypeError, ValueError, LookupError) as error:
        raise UserError(f"{path} has tokens that are none ({error}); it is no tokenizer.json") from error
    odd = next((i for i in ids if type(i) is not int or not 0 <= i < _MOST), None)
    if not ids or odd is not None:
        raise UserError(
            f"{path} has {f'the token id {odd!r}' if ids else 'no tokens'}; a tokenizer.json has some, numbered below {_MOST}"
        )
