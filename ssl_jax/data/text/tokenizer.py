"""Text -> tokens and back, by Hugging Face's `tokenizers` (extra `[text]`); `tokenizer.json` is the format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from typing import Any

import numpy as np

from ssl_jax.data.text.vocabulary import located, read_tokenizer
from ssl_jax.errors import UserError

_PIECE = 1 << 16  # characters that are encoded at a time


@cache
def load(name: str) -> Any:
    """The `tokenizers.Tokenizer` of a `tokenizer.json`. UserError where the library or the file is not there.

    It gives all tokens of a text and no others, whatever cutting and padding the file asks for, and what is written like a sign
    inside of a text is text.
    """
    read_tokenizer(name)
    try:
        tokenizer = library().Tokenizer.from_file(str(located(name)))
    except UserError:
        raise
    except Exception as error:  # the library raises nothing narrower
        raise UserError(f"{located(name)} is no tokenizer.json that tokenizers can read ({error})") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def library() -> Any:
    """The package `tokenizers`. UserError where it is not installed."""
    try:
        import tokenizers
    except ImportError as error:
        raise UserError("reading and writing text needs the package tokenizers: pip install 'ssl_jax[text]'") from error
    return tokenizers


def encoded(tokenizer: Any, text: str, most: int | None = None) -> list[int]:
    """The tokens of a text without signs around it, or the first `most` of them; ValueError for half a surrogate pair.

    A long text is encoded in pieces that end where a word ends. Tokenizers that look no further than that (byte-level BPE,
    WordPiece) give what they give for the whole; one that marks the beginning of a text marks that of each 65,536 letters.
    """
    found: list[int] = []
    for piece in pieces(text):
        if most is not None and len(found) >= most:
            break
        found += tokenizer.encode(piece, add_special_tokens=False).ids
    return found[:most]


def encoded_all(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """`encoded` of each text, faster."""
    split = [list(pieces(text)) for text in texts]
    found = iter(tokenizer.encode_batch_fast(list(chain.from_iterable(split)), add_special_tokens=False))
    return [_joined(next(found).ids for _ in own) for own in split]


def pieces(text: str) -> Iterator[str]:
    """A text cut into pieces of 65,536 characters at most, where a word ends if there is such a place."""
    at = 0
    while len(text) - at > _PIECE:
        places = range(at + _PIECE, at, -1)
        cut = next((i for i in places if text[i].isspace() and not text[i - 1].isspace()), at + _PIECE)
        yield text[at:cut]
        at = cut
    yield text[at:]


def _joined(parts: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(parts))


def readable(name: str, tokens: np.ndarray) -> list[str]:
    """Each token [T] as a piece of text that people can read, with the space that stands before it."""
    tokenizer, model = load(name), read_tokenizer(name)["model"]
    prefix = model.get("continuing_subword_prefix") or ""
    if model.get("type") == "WordLevel":
        return [f" {tokenizer.id_to_token(int(token)) or token}" for token in tokens]
    return [_piece(tokenizer, prefix, int(token)) for token in tokens]


def _piece(tokenizer: Any, prefix: str, token: int) -> str:
    word = tokenizer.id_to_token(token) or f"<{token}>"
    if prefix:
        return word.removeprefix(prefix) if word.startswith(prefix) else f" {word}"
    if token in tokenizer.get_added_tokens_decoder() or tokenizer.id_to_token(token) is None:
        return f" {word}"
    text = tokenizer.decode([token], skip_special_tokens=False)
    return f" {text.lstrip()}" if word.startswith(("\u0120", "\u2581")) else text
