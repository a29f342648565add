"""Records of generated sounds and clips with descriptions: what their labels say, in sentences of a few forms."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssl_jax.data.sources.base import Record, values_of
from ssl_jax.data.sources.descriptions import FORMS, TOKENIZER, sentence, token_rows
from ssl_jax.data.text.vocabulary import digest_of
from ssl_jax.errors import UserError


@dataclass(frozen=True, eq=False)
class Described:
    """The records of `source`, and a sentence of what their labels say: `tokens` int32 [24], `text_id` int32.

    kind: which sentences, "clip" (of `MovingFashion`) or "sound" (of `GeneratedAudio`). A record always has the same one.
    """

    source: Any
    kind: str

    def __post_init__(self) -> None:
        if self.kind not in FORMS:
            raise UserError(f"kind={self.kind!r}: there are sentences of {', '.join(FORMS)}")

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        return self._with_text(self.source[index], index)

    def text_of(self, index: int) -> str:
        """The sentence of a record."""
        return self._sentence(self.source[index], index)

    def values(self, name: str) -> np.ndarray | None:
        """All labels of a field, where they cost no reading."""
        return values_of(self.source, name)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of `label`."""
        return tuple(self.source.classes)

    @property
    def labels(self) -> Mapping[str, tuple[str, ...]]:
        """The names of all labels."""
        return dict(self.source.labels)

    @property
    def tokenizer_digest(self) -> str:
        """SHA-256 of the tokenizer that ships."""
        return digest_of(TOKENIZER)

    def fingerprint(self) -> str:
        """SHA-256 of that of the records, and of the sentences' forms."""
        return hashlib.sha256(f"{self.source.fingerprint()} {FORMS[self.kind]}".encode()).hexdigest()

    @staticmethod
    def example(**_: object) -> Record:
        """The fields that are added to a record, as zeros."""
        return {"tokens": token_rows([""])[0], "text_id": np.zeros((), np.int32)}

    def _with_text(self, record: Record, index: int) -> Record:
        told = self._sentence(record, index)
        number = int.from_bytes(hashlib.blake2b(told.encode(), digest_size=4).digest(), "little") >> 1
        return record | {"tokens": token_rows([told])[0], "text_id": np.asarray(number, np.int32)}

    def _sentence(self, record: Record, index: int) -> str:
        named = {name: names[int(record[name])] for name, names in self.labels.items() if names}
        return sentence(self.kind, named, index)
