"""Text -> tokens and back, by Hugging Face's `tokenizers` (extra `[text]`); `tokenizer.json` is the format."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ssl_jax.data.text.vocabulary import located, read_tokenizer
from ssl_jax.errors import UserError


@cache
def load(name: str) -> Any:
    """The `tokenizers.Tokenizer` of a `tokenizer.json`. UserError where the library or the file is not there."""
    read_tokenizer(name)
    return library().Tokenizer.from_file(str(located(name)))


def library() -> Any:
    """The package `tokenizers`. UserError where it is not installed."""
    try:
        import tokenizers
    except ImportError as error:
        raise UserError("reading and writing text needs the package tokenizers: pip install 'ssl_jax[text]'") from error
    return tokenizers


def readable(name: str, tokens: np.ndarray) -> list[str]:
    """Each token [T] as a piece of text that people can read, with the space that stands before it."""
    tokenizer, prefix = load(name), read_tokenizer(name)["model"].get("continuing_subword_prefix") or ""
    return [_piece(tokenizer, prefix, int(token)) for token in tokens]


def _piece(tokenizer: Any, prefix: str, token: int) -> str:
    word = tokenizer.id_to_token(token) or f"<{token}>"
    if prefix:
        return word.removeprefix(prefix) if word.startswith(prefix) else f" {word}"
    if token in tokenizer.get_added_tokens_decoder() or tokenizer.id_to_token(token) is None:
        return f" {word}"
    text = tokenizer.decode([token], skip_special_tokens=False)
    return f" {text.lstrip()}" if word.startswith(("\u0120", "\u2581")) else text
