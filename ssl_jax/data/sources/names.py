"""Names of millions of records in the memory that their letters take: one string of bytes, and where each name ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np


class Names(Sequence[str]):
    """Strings as `blob`, their UTF-8 with a line feed after each, and `ends` int64 [N], the places of these line feeds.

    A million paths of 30 letters take 38 MB; as a list of strings it is 90 MB. Bytes that are no UTF-8 stay what they are.
    """

    def __init__(self, blob: np.ndarray, ends: np.ndarray) -> None:
        self.blob, self.ends = blob, ends

    @classmethod
    def of(cls, names: Sequence[str]) -> Names:
        """The names, which may hold line feeds themselves."""
        sizes = np.fromiter((len(_bytes(name)) + 1 for name in names), np.int64, len(names))
        return cls(np.frombuffer(_bytes("".join(f"{name}\n" for name in names)), np.uint8), np.cumsum(sizes) - 1)

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Names: ...
    def __getitem__(self, index: int | slice) -> str | Names:
        """One name, or those of a slice."""
        if isinstance(index, slice):
            return Names.of([self[i] for i in range(len(self))[index]])
        if not 0 <= index < len(self):
            raise IndexError(f"name {index} of {len(self)}")
        start = self.ends[index - 1] + 1 if index else 0
        return self.blob[start : self.ends[index]].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    def joined(self) -> memoryview:
        """All names with a line feed between them, as bytes."""
        return self.blob[:-1].data

    def is_sound(self) -> bool:
        """Whether the ends lie in the blob, in order, each at a line feed: what a file that was kept may not hold."""
        if not (self.blob.dtype == np.uint8 and self.ends.dtype == np.int64 and self.blob.ndim == self.ends.ndim == 1):
            return False
        if not len(self.ends):
            return not len(self.blob)
        inside = self.ends[0] >= 0 and self.ends[-1] == len(self.blob) - 1 and bool(np.all(np.diff(self.ends) > 0))
        return inside and bool(np.all(self.blob[self.ends] == ord("\n")))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
