"""The contract of what records come from.

A source is anything with `len(source)`, `source[i] -> dict of numpy` and `source.fingerprint() -> str`. It may also
have `classes` (names in the order of the labels), `labels` (field -> such names, () where there are none, for records with
several labels: no encoder sees any of these fields), `name_of(i)` (for lists of bad records) and, where gathering many
records at once is cheaper than one by one, `batch(ids [B]) -> dict of [B, ...]`.
"""

from __future__ import annotations

from typing import Any, Protocol

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
