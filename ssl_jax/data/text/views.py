"""Batches of token rows on the device -> views of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.data.augment import Batch, Views
from ssl_jax.data.panels import Panel, Texts
from ssl_jax.data.text.rows import Documents, padded
from ssl_jax.data.text.vocabulary import (
    Vocabulary,
    digest_of,
    located,
    read_tokenizer,
    sentence_ends,
    token_bytes,
    vocabulary_of,
    word_starts,
)
from ssl_jax.data.units import Units
from ssl_jax.errors import UserError


@dataclass(frozen=True)
class TextViews:
    """Each text as it is, `count` times. What hides, drops or cuts tokens is drawn from the keys by others on top of this.

    Records have `tokens` int [T]; `segments` and `positions` [T] where several texts are packed into a row. A single text ends
    where the padding begins.

    vocabulary: options of `Vocabulary`; those that are not given are read from `tokenizer`.
    tokenizer: the path of a `tokenizer.json`, or "wordnet" for that of the texts that ship: for the ids of signs, for where words
      begin, and for people who look at the tokens.
    assumed: options of `Vocabulary` that hold as long as the file of the tokenizer is not there: planning works without the data.
    padding: whether padding is read like words (SigLIP), instead of not being there. Where it is the token that ends a text, as
      CLIP's is, the first one belongs to the text.
    """

    vocabulary: Mapping[str, int] | tuple[tuple[str, int], ...] = ()
    tokenizer: str = ""
    count: int = 1
    assumed: Mapping[str, int] | tuple[tuple[str, int], ...] = ()
    padding: bool = False

    inputs: ClassVar = ("tokens", "segments", "positions")

    def __post_init__(self) -> None:
        for name in ("vocabulary", "assumed"):
            object.__setattr__(self, name, tuple(sorted(dict(getattr(self, name)).items())))  # so that it can be hashed
        if self.count < 1:
            raise UserError(f"augment.count={self.count}: at least one view of each text")

    @property
    def words(self) -> Vocabulary:
        """The vocabulary that records are written in."""
        given = dict(self.vocabulary)
        if self.there:
            return vocabulary_of(read_tokenizer(self.tokenizer), **given)
        given = dict(self.assumed) | given
        if self.tokenizer and "size" not in given:
            return vocabulary_of(read_tokenizer(self.tokenizer), **given)
        if "size" not in given:
            raise UserError("augment needs a tokenizer (the path of a tokenizer.json), or vocabulary.size")
        return Vocabulary(**given)

    @property
    def there(self) -> bool:
        """Whether the file of the tokenizer is here."""
        return bool(self.tokenizer) and located(self.tokenizer).is_file()

    @property
    def tokenizer_digest(self) -> str:
        """SHA-256 of the file of the tokenizer; "" where it is not here."""
        return digest_of(self.tokenizer) if self.there else ""

    @property
    def starts(self) -> np.ndarray:
        """Bool [V]: the tokens that begin a word; all, where there is no tokenizer to say."""
        if self.there:
            return word_starts(read_tokenizer(self.tokenizer))
        return np.ones(self.words.size, bool)

    @property
    def bytes(self) -> np.ndarray | None:
        """Int32 [V]: the bytes that each token stands for; None, where there is no tokenizer to say."""
        return token_bytes(read_tokenizer(self.tokenizer)) if self.there else None

    @property
    def stops(self) -> np.ndarray:
        """Bool [V]: the tokens that end a sentence; none, where there is no tokenizer to say."""
        if self.there:
            return sentence_ends(read_tokenizer(self.tokenizer))
        return np.zeros(self.words.size, bool)

    def __call__(self, keys: Array, batch: Batch) -> Views:
        """The `inputs` int32 [B, V, T]."""
        return jax.tree.map(lambda x: jnp.repeat(x[:, None], self.count, axis=1), self.evaluation(batch))

    def evaluation(self, batch: Batch, policy: str = "") -> Batch:
        """The `inputs` int32 [B, T]."""
        tokens = jnp.asarray(batch["tokens"]).astype(jnp.int32)
        if "segments" in batch:
            return {name: jnp.asarray(batch[name]).astype(jnp.int32) for name in self.inputs} | {"tokens": tokens}
        words = self.words
        pad = -1 if self.padding else words.pad or 0
        return {"tokens": tokens} | alone(tokens, pad, ends=pad == words.end)

    def plain(self, batch: Batch) -> Array:
        """How often each token occurs, float32 [B, V], signs left out, divided by the length of the text."""
        text = self.evaluation(batch)
        return bag_of_tokens(text["tokens"], text["segments"] > 0, self.words)

    def content(self, batch: Batch) -> Array:
        """What makes two records the same: their tokens [B, T]."""
        return jnp.asarray(batch["tokens"])

    def written(self, texts: Sequence[str], length: int | None = None) -> dict[str, np.ndarray]:
        """Texts as records: `tokens` int32 [N, length], between signs, cut or padded; without a length that of the longest."""
        from ssl_jax.data.text.tokenizer import encoded, load

        if not self.there:
            raise UserError(f"augment.tokenizer={self.tokenizer!r}: no such file, and texts are written by it")
        ids = [encoded(load(self.tokenizer), text, length) for text in texts]
        lengths = np.array([len(each) for each in ids])
        documents = Documents.of(np.array([token for each in ids for token in each], np.int32), lengths)
        return {"tokens": padded(documents, self.words, length or int(lengths.max()) + 2)}

    def fitted(self, bags: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """TF-IDF: weighs words by how few of the texts with these `bags` [N, V] have them, and makes rows of length 1."""
        weights = idf(bags)
        return lambda rows: tf_idf(rows, weights)

    def panel(self, views: Views) -> dict[str, Panel]:
        """The tokens of each view, with the number of their segment where there are several."""
        arrays = [np.asarray(views[name]) for name in self.inputs[:2]]
        rows = [[self.told(t, s) for t, s in zip(*row, strict=True)] for row in zip(*arrays, strict=True)]
        columns = arrays[0].shape[1]
        return {"tokens": Texts(rows, tuple(f"view {i + 1}" for i in range(columns)) if columns > 1 else ("text",))}

    def told(self, tokens: np.ndarray, segments: np.ndarray) -> list[tuple[str, str]]:
        """Pieces (text, mark) of one row."""
        several = segments.max(initial=0) > 1
        real = segments > 0
        pieces = self.pieces(tokens[real])
        return [(p, f"text {s}" if several else "") for p, s in zip(pieces, segments[real], strict=True)]

    def pieces(self, tokens: np.ndarray) -> list[str]:
        """The tokens as people read them; their ids where there is no tokenizer."""
        if not self.there:
            return [f"{int(t)} " for t in tokens]
        from ssl_jax.data.text.tokenizer import readable

        return readable(self.tokenizer, tokens)

    def check(self, records: Iterable[Mapping[str, Any]]) -> None:
        """UserError where a record has a token that the tokenizer does not have: it was written with another one."""
        size = self.words.size
        for record in records:
            for name in self.texts:
                if name in record and (largest := int(np.max(record[name], initial=0))) >= size:
                    raise UserError(
                        f"a record has the token {largest} in {name!r}, and the tokenizer of augment has {size}: the records "
                        "were made with another one; set augment.tokenizer to that"
                    )

    @property
    def texts(self) -> tuple[str, ...]:
        """The fields of a record that hold tokens."""
        return ("tokens",)

    def units(self, batch: Mapping[str, Any]) -> Units:
        """The tokens of a batch that are no padding."""
        tokens = batch["tokens"]
        real = batch["segments"] > 0 if "segments" in batch else tokens != (self.words.pad or 0)
        return {"tokens": float(np.sum(real))}


def alone(tokens: Array, pad: int, ends: bool = False) -> dict[str, Array]:
    """`segments` and `positions` [B, T] of rows that hold one text each, up to the first `pad`; with `ends` that is in it."""
    padding = (tokens == pad).astype(jnp.int32)
    real = jnp.cumsum(padding, axis=1) - (padding if ends else 0) == 0
    places = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)
    return {"segments": real.astype(jnp.int32), "positions": jnp.where(real, places, 0)}


def idf(bags: np.ndarray) -> np.ndarray:
    """log((1 + N) / (1 + texts with the token)) + 1 for each token, float32 [V], of `bags` [N, V] (scikit-learn's, smooth).

    >>> [round(float(w), 3) for w in idf(np.array([[1, 0], [1, 2]]))]
    [1.0, 1.405]
    """
    return np.log((1 + len(bags)) / (1 + (bags > 0).sum(axis=0))).astype(np.float32) + 1


def tf_idf(bags: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`bags` [N, V] weighed, each row of length 1 or empty."""
    rows = bags * weights
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def bag_of_tokens(tokens: Array, real: Array, words: Vocabulary) -> Array:
    """The share of each token [B, V] among those of `tokens` [B, T] that are `real` [B, T] and no sign."""
    signs = np.zeros(words.size, bool)
    signs[list(words.signs)] = True
    counted = real & ~jnp.asarray(signs)[tokens]
    rows = jnp.arange(len(tokens))[:, None]
    bag = jnp.zeros((len(tokens), words.size), jnp.float32).at[rows, tokens].add(counted)
    return bag / jnp.maximum(counted.sum(axis=1, keepdims=True), 1)
