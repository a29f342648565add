"""What counting words reaches: n-gram models with back-off, the baselines of every language model.

A model of order n gives a word `max(c(h, w) - D, 0) / c(h) + D k(h) / c(h) * p(w | shorter h)`, where c counts what followed the
history h and k how many different words did (absolute discounting, Ney, Essen, Kneser 1994, interpolated). Below the shortest
history stands the uniform distribution over the vocabulary, so that every word is possible.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

DISCOUNTS = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Counts:
    """What followed histories of one length: sorted keys of (history, word) and of histories, with their counts."""

    both: np.ndarray
    both_count: np.ndarray
    history: np.ndarray
    history_count: np.ndarray
    different: np.ndarray


@dataclass(frozen=True)
class NGrams:
    """Counts by length of history, from 0 up."""

    vocabulary: int
    orders: tuple[Counts, ...]


def fitted(texts: Iterable[np.ndarray], order: int, vocabulary: int) -> NGrams:
    """The counts of texts (each int [T]) for n-grams up to `order`, of whose words the first of a text is never predicted."""
    windows = _windows(texts, order)
    return NGrams(vocabulary, tuple(_counts(windows, length, vocabulary) for length in range(order)))


def nats(model: NGrams, texts: Iterable[np.ndarray], discount: float) -> float:
    """Cross-entropy in nats for a word of these texts; the first word of each is only read."""
    windows, orders = _windows(texts, len(model.orders)), len(model.orders)
    chance = np.full(len(windows), 1 / model.vocabulary)
    for length, counts in enumerate(model.orders):
        both, history = _keys(windows, length, model.vocabulary)
        seen, follow, kinds = (
            _found(*x) for x in (
                (counts.history, counts.history_count, history), (counts.both, counts.both_count, both),
                (counts.history, counts.different, history),
            )
        )  # fmt: skip
        known = (seen > 0) & (windows[:, orders - 1 - length] >= 0)
        backed = (np.maximum(follow - discount, 0) + discount * kinds * chance) / np.maximum(seen, 1)
        chance = np.where(known, backed, chance)
    return float(-np.log(chance).mean())


def _windows(texts: Iterable[np.ndarray], order: int) -> np.ndarray:
    """[N, order]: every word but the first of each text, behind the order - 1 before it; -1 where there are none."""
    parts = []
    for text in texts:
        padded = np.concatenate([np.full(order - 1, -1), np.asarray(text, np.int64)])
        parts.append(np.lib.stride_tricks.sliding_window_view(padded, order)[1:])
    return np.concatenate(parts)


def _keys(windows: np.ndarray, length: int, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """One number for (history of so many words, word), and one for the history."""
    history = np.zeros(len(windows), np.int64)
    for place in range(windows.shape[1] - 1 - length, windows.shape[1] - 1):
        history = history * (vocabulary + 1) + windows[:, place] + 1
    return history * (vocabulary + 1) + windows[:, -1] + 1, history


def _counts(windows: np.ndarray, length: int, vocabulary: int) -> Counts:
    whole = windows[windows[:, windows.shape[1] - 1 - length] >= 0]
    both, history = _keys(whole, length, vocabulary)
    pairs, first, pair_count = np.unique(both, return_index=True, return_counts=True)
    names, name_count = np.unique(history, return_counts=True)
    different = np.unique(history[first], return_counts=True)[1]
    return Counts(pairs, pair_count, names, name_count, different)


def _found(keys: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The value of each key that is asked for, 0 of those that are not there."""
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[at] == asked, values[at], 0)
