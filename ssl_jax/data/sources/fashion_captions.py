"""Fashion-MNIST, what ships of it or all, with descriptions that are generated from the pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssl_jax.data.sources.arrays import Columns
from ssl_jax.data.sources.descriptions import TOKENIZER, described, text_of_row, token_rows
from ssl_jax.data.sources.embedded import CLASSES, Embedded
from ssl_jax.data.sources.idx import FashionMNIST
from ssl_jax.data.text.vocabulary import digest_of


@dataclass(frozen=True, eq=False)
class FashionCaptions(Columns):
    """A picture and its generated description: `image` uint8 [28, 28, 1], `tokens` int32 [24], `label` int32.

    `image_id` and `text_id` int32 are the same where picture and text are. Splits and labels are those of `Embedded`, or with
    `whole` those of `FashionMNIST`, which has to be there. A text says what the garment is, and what was measured of it: its
    brightness, width, height, pattern, and whether it narrows. It is generated (`data/sources/descriptions.py`), always the same
    for a picture of a split; its tokens are words.
    """

    split: str = "pretrain"
    limit: int | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        pictures = _pictures(self.split, self.limit, self.whole)
        tokens = token_rows(texts(self.split, self.limit, self.whole))
        columns = {
            **pictures,
            "tokens": tokens,
            "image_id": np.arange(len(tokens), dtype=np.int32),
            "text_id": np.unique(tokens, axis=0, return_inverse=True)[1].astype(np.int32),
        }
        self._set(columns, CLASSES, None)

    @property
    def tokenizer_digest(self) -> str:
        """SHA-256 of the tokenizer that ships."""
        return digest_of(TOKENIZER)

    def text_of(self, index: int) -> str:
        """The description of a record."""
        return text_of_row(self.columns["tokens"][index])


def texts(split: str, limit: int | None = None, whole: bool = False) -> list[str]:
    """The descriptions of a split, in its order."""
    columns = _pictures(split, limit, whole)
    drawn = np.random.default_rng(len(split)).integers(0, 1 << 16, len(columns["image"]))
    return described(columns["image"][..., 0], columns["label"], drawn)


def _pictures(split: str, limit: int | None, whole: bool) -> dict[str, np.ndarray]:
    source = FashionMNIST(split, limit=limit) if whole else Embedded(split, limit)
    return {name: np.asarray(values) for name, values in source.columns.items()}
