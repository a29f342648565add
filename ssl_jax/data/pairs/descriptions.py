"""Descriptions of grey pictures of garments, generated: what stands in them was measured, and how it is said was drawn.

No substitute for what people write: the words are few and the sentences alike. What tells them apart is in the pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NAMES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
SENTENCES = (
    "a {what} {name} {how}",
    "a picture of a {what} {name} {how}",
    "this {name} is {what} {how}",
    "a {name} {how} , {what}",
    "one {what} {name} on black {how}",
    "here is a {name} that is {what} {how}",
)
_INK = 25  # of 255: what is brighter belongs to the garment
# What is measured -> (below this, the word for it), (above this, the word for it); between the two nothing is said.
ADJECTIVES: dict[str, tuple[tuple[float, str], tuple[float, str]]] = {
    "brightness": ((0.5, "dark"), (0.7, "bright")),
    "width": ((17, "narrow"), (25, "wide")),
    "height": ((18, "low"), (25, "tall")),
    "change": ((0.09, "plain"), (0.14, "patterned")),
}
TAPERS = ((0.8, "that widens downwards"), (1.25, "that narrows downwards"))


def described(images: np.ndarray, labels: np.ndarray, drawn: np.ndarray) -> list[str]:
    """A sentence for each of `images` uint8 [N, 28, 28], its words a space apart; `drawn` int [N] chooses its form."""
    facts = measured(images)
    adjectives = [_words(facts[name], *words) for name, words in ADJECTIVES.items()]
    tapers = _words(facts["taper"], *TAPERS)
    whats = [" and ".join(filter(None, words)) or "usual" for words in zip(*adjectives, strict=True)]
    return [
        " ".join(SENTENCES[i % len(SENTENCES)].format(what=what, name=NAMES[label], how=how).split())
        for what, label, how, i in zip(whats, labels, tapers, drawn, strict=True)
    ]


def measured(images: np.ndarray) -> dict[str, np.ndarray]:
    """Of each garment [N]: `brightness` in [0, 1], `width` and `height` in pixels, `change` of brightness between neighbours, and
    `taper`, its width at a quarter of its height over that at four fifths.
    """
    ink, x = images > _INK, images / np.float32(255)
    beside = ink[:, :, 1:] & ink[:, :, :-1]
    height, widths, rows = ink.any(2).sum(1), ink.sum(2), np.arange(len(images))
    at = lambda share: np.minimum(ink.any(2).argmax(1) + (share * height).astype(int), ink.shape[1] - 1)  # noqa: E731
    return {
        "brightness": (x * ink).sum((1, 2)) / np.maximum(ink.sum((1, 2)), 1),
        "width": ink.any(1).sum(1),
        "height": height,
        "change": (np.abs(np.diff(x, axis=2)) * beside).sum((1, 2)) / np.maximum(beside.sum((1, 2)), 1),
        "taper": widths[rows, at(0.25)] / np.maximum(widths[rows, at(0.8)], 1),
    }


def vocabulary() -> list[str]:
    """Every word of the sentences, sorted."""
    forms = [*SENTENCES, *NAMES, "and usual", *(word for pair in (*ADJECTIVES.values(), TAPERS) for _, word in pair)]
    return sorted({word for form in forms for word in form.split() if not word.startswith("{")})


def _words(numbers: np.ndarray, low: tuple[float, str], high: tuple[float, str]) -> Sequence[str]:
    return np.where(numbers < low[0], low[1], np.where(numbers > high[0], high[1], "")).tolist()
