"""Descriptions that are generated: what stands in them was measured or is a label, and how it is said was drawn.

No substitute for what people write: the words are few and the sentences alike. What tells them apart is in the pictures, sounds
and clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ssl_jax.data.sources.embedded import CLASSES
from ssl_jax.data.text.rows import Documents, padded
from ssl_jax.data.text.vocabulary import read_tokenizer, vocabulary_of

TOKENIZER, LENGTH = "fashion", 24
NAMES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
SENTENCES = (
    "a {what} {name} {how}",
    "a picture of a {what} {name} {how}",
    "this {name} is {what} {how}",
    "a {name} {how} , {what}",
    "one {what} {name} on black {how}",
    "here is a {name} that is {what} {how}",
)
# Sentences of labels, by what they are of, and the words for labels that are not words themselves.
FORMS: dict[str, tuple[str, ...]] = {
    "clip": (
        "a {garment} that moves {direction} , {speed}",
        "{speed} and {direction} goes a {garment}",
        "here is a {garment} on its {speed} way {direction}",
    ),
    "sound": (
        "a {timbre} tone , {envelope} , that {glide}",
        "a tone that {glide} , {timbre} and {envelope}",
        "{envelope} and {timbre} , a tone {glide}",
    ),
}
_SAID = dict(zip(CLASSES, NAMES, strict=True))
_LABELS = (
    "right down left up slow medium fast",
    "pure hollow bright rough struck swelling held trembling falls stays rises",
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


def sentence(kind: str, labels: Mapping[str, str], drawn: int) -> str:
    """What labels by field say of a "clip" or "sound", in the form that `drawn` chooses."""
    forms = FORMS[kind]
    return forms[drawn % len(forms)].format(**{name: _SAID.get(label, label) for name, label in labels.items()})


def token_rows(sentences: Sequence[str]) -> np.ndarray:
    """The tokens int32 [N, 24] of sentences: every word is one, and a space stands between two."""
    tokenizer = read_tokenizer(TOKENIZER)
    known = tokenizer["model"]["vocab"]
    words = [[known[word] for word in told.split()] for told in sentences]
    flat = np.array([token for row in words for token in row], np.int32)
    return padded(Documents.of(flat, np.array([len(row) for row in words])), vocabulary_of(tokenizer), LENGTH)


def text_of_row(tokens: np.ndarray) -> str:
    """The opposite of `token_rows`, of one row."""
    tokenizer = read_tokenizer(TOKENIZER)
    named, signs = {i: word for word, i in tokenizer["model"]["vocab"].items()}, vocabulary_of(tokenizer).signs
    return " ".join(named[int(token)] for token in tokens if int(token) not in signs)


def vocabulary() -> list[str]:
    """Every word of the sentences, sorted."""
    told = (form for forms in FORMS.values() for form in forms)
    measures = (word for pair in (*ADJECTIVES.values(), TAPERS) for _, word in pair)
    forms = (*SENTENCES, *told, *NAMES, *_LABELS, "and usual", *measures)
    return sorted({word for form in forms for word in form.split() if not word.startswith("{")})


def _words(numbers: np.ndarray, low: tuple[float, str], high: tuple[float, str]) -> Sequence[str]:
    return np.where(numbers < low[0], low[1], np.where(numbers > high[0], high[1], "")).tolist()
