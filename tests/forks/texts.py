"""Sentences of a small grammar as a source, packed into rows too, and what an encoder sees of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.data.augment import Batch, Views
from ssl_jax.data.panels import Panel, Texts
from ssl_jax.data.sources.arrays import Columns

PAD, MASK, START = "[pad]", "[mask]", "[start]"
TOPICS = {
    "sea": ("ship", "wave", "sailor", "anchor", "harbour"),
    "farm": ("cow", "plough", "farmer", "barn", "meadow"),
    "court": ("judge", "law", "jury", "verdict", "witness"),
}
VERBS, FILLERS = ("sees", "finds", "leaves", "needs"), ("the", "a", "old", "small", "near", "by")
WORDS = (PAD, MASK, START, *FILLERS, *VERBS, *(word for topic in TOPICS.values() for word in topic))
LENGTH, ROW = 12, 32
COUNTS = {"pretrain": 256, "probe": 128, "test": 96}


def sentences(split: str, count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """`count` sentences of 6 to 12 tokens, each of one topic, and the topics."""
    random, index = np.random.default_rng(sorted(COUNTS).index(split)), {word: i for i, word in enumerate(WORDS)}
    label = random.permutation(np.arange(count) % len(TOPICS)).astype(np.int32)
    nouns = [list(TOPICS.values())[topic] for topic in label]
    texts = []
    for words in nouns:
        said = [START, *random.choice(FILLERS, 1), *random.choice(words, 1), *random.choice(VERBS, 1)]
        for _ in range(random.integers(1, 5)):
            said += [*random.choice(FILLERS, 1), *random.choice(words, 1)]
        texts.append(np.array([index[str(word)] for word in said], np.int32))
    return texts, label


@dataclass(frozen=True, eq=False)
class Sentences(Columns):
    """`tokens` int32 [12], 0 where there are none, and the topic as `label`."""

    split: str = "pretrain"
    limit: int | None = None

    def __post_init__(self) -> None:
        texts, label = sentences(self.split, COUNTS[self.split])
        tokens = np.stack([np.pad(text, (0, LENGTH - len(text))) for text in texts])
        self._set({"tokens": tokens, "label": label}, tuple(TOPICS), self.limit)


@dataclass(frozen=True, eq=False)
class Packed(Columns):
    """Rows of 32 tokens, several sentences after one another: `tokens`, `segments` (1, 2, ...; 0 is padding), `places`."""

    split: str = "pretrain"
    limit: int | None = None

    def __post_init__(self) -> None:
        rows: list[list[np.ndarray]] = [[]]
        for text in sentences(self.split, COUNTS[self.split])[0]:
            if sum(map(len, rows[-1])) + len(text) > ROW:
                rows.append([])
            rows[-1].append(text)
        fields = {
            "tokens": [np.concatenate(row) for row in rows],
            "segments": [np.concatenate([np.full(len(t), i + 1) for i, t in enumerate(row)]) for row in rows],
            "places": [np.concatenate([np.arange(len(t)) for t in row]) for row in rows],
        }
        padded = {k: np.stack([np.pad(r, (0, ROW - len(r))).astype(np.int32) for r in v]) for k, v in fields.items()}
        self._set(padded, (), self.limit)


@dataclass(frozen=True)
class TokenViews:
    """Each text as it is; of a single text, segment and places follow from its padding. `words` are the vocabulary."""

    words: tuple[str, ...] = WORDS

    inputs: ClassVar = ("tokens", "segments", "places")

    def __call__(self, keys: Array, batch: Batch) -> Views:
        """The `inputs` [B, 1, N]."""
        return jax.tree.map(lambda x: x[:, None], self.evaluation(batch))

    def evaluation(self, batch: Batch, policy: str = "") -> Batch:
        """The `inputs` [B, N]."""
        tokens = jnp.asarray(batch["tokens"])
        alone = {
            "segments": (tokens > 0).astype(jnp.int32),
            "places": jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape),
        }
        return {"tokens": tokens} | {name: batch.get(name, x) for name, x in alone.items()}

    def plain(self, batch: Batch) -> Array:
        """How often each word occurs, [B, V]."""
        return jax.nn.one_hot(batch["tokens"], len(self.words)).sum(axis=1).at[:, 0].set(0)

    def panel(self, views: Views) -> dict[str, Panel]:
        """The words of each view, with the number of their segment."""
        words, segments = np.asarray(views["tokens"]), np.asarray(views["segments"])
        rows = [
            [[(self.words[t], f"text {s}") for t, s in zip(*view, strict=True) if s] for view in zip(*row, strict=True)]
            for row in zip(words, segments, strict=True)
        ]
        return {"tokens": Texts(rows, ("text",))}
