"""The contract of what records come from.

A source is anything with `len(source)`, `source[i] -> dict of numpy` and `source.fingerprint() -> str`. It may also
have `classes` (names in the order of the labels), `labels` (field -> such names, () where there are none, for records with
several labels: no encoder sees any of these fields), `name_of(i)` (for lists of bad records), `belongs_to(i)` (the name of what
a record is a part of: clips of one video are not learnt from and tested on) and, where gathering many records at once is cheaper
than one by one, `batch(ids [B]) -> dict of [B, ...]`; `notes` (sentences for the log: what it decided about the data); and
`values(name) -> [N, ...] or None`, all values of a field that cost no reading of records. What a search tells of a record is
`text_of(i)`, a text that belongs to it, and `file_of(i)`, the path of what it shows, "" of what has none.
Where pictures lie encoded it has `encoded(i)`, the record with the bytes of a picture as `image`, and `decoding`, how they
become pixels (`data/sources/pictures.py`). One that holds tokens has `tokenizer_digest`, the SHA-256 of the `tokenizer.json` that
they were made with. A source whose examples are drawn at random from its records (`data/cropped.py`) has
`draws(ids, epochs) -> [R, ...]`, random numbers for each example, and `drawn(record, row) -> record`, the example. Where some
records are to be drawn more often than others it has `example_order(seed, cursor [R]) -> ids [R], epochs [R]`, which record each
training example is (`data/sources/mix.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

Record = dict[str, Any]


class Source(Protocol):
    """What every source offers. Records have the same fields and shapes; nothing requires an image."""

    def __len__(self) -> int:
        """Number of records."""
        ...

    def __getitem__(self, index: int) -> Record:
        """Record `index` in [0, len), e.g. `{"image": uint8 [H, W, C], "label": int32}`."""
        ...

    def fingerprint(self) -> str:
        """SHA-256 in hex: cheap, the same in every process, different when the data is."""
        ...


def labels_named(source: Any) -> dict[str, tuple[str, ...]]:
    """The fields that a source says are labels, with the names of their classes: its `labels`, if they are such a mapping.

    (A source of somebody's own may call an array so.)
    """
    said = getattr(source, "labels", None)
    return {str(name): tuple(names) for name, names in said.items()} if isinstance(said, Mapping) else {}


def values_of(source: Any, name: str) -> np.ndarray | None:
    """All values of a field [N, ...], or None where the source does not give them without reading records."""
    given = getattr(source, "values", None)
    return given(name) if callable(given) else None
