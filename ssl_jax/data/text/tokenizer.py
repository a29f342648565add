"""Text -> tokens and back, by Hugging Face's `tokenizers` (extra `[text]`); `tokenizer.json` is the format."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ssl_jax.data.text.vocabulary import read_tokenizer
from ssl_jax.errors import UserError


@cache
def load(path: str) -> Any:
    """The `tokenizers.Tokenizer` of a `tokenizer.json`. UserError where the library or the file is not there."""
    read_tokenizer(path)
    return library().Tokenizer.from_file(path)


def library() -> Any:
    """The package `tokenizers`. UserError where it is not installed."""
    try:
        import tokenizers
    except ImportError as error:
        raise UserError("reading and writing text needs the package tokenizers: pip install 'ssl_jax[text]'") from error
    return tokenizers


def readable(path: str, tokens: np.ndarray) -> list[str]:
    """Each token [T] as a piece of text that people can read, with the space that stands before it."""
    tokenizer = load(path)
    return [_piece(tokenizer, int(token)) for token in tokens]


def _piece(tokenizer: Any, token: int) -> str:
    word = tokenizer.id_to_token(token)
    if word is None:
        return f" <{token}>"
    if word.startswith("##"):
        return word[2:]
    begins = word.startswith(("\u0120", "\u2581"))
    text = tokenizer.decode([token], skip_special_tokens=False) or word
    return f" {text.strip()}" if begins or tokenizer.token_to_id(text) is not None else text
