"""Where random crops are cut: on the device, from squares of one size, or on the host, from whole pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ssl_jax.data import threefry
from ssl_jax.data.image import resize
from ssl_jax.data.image.decode import decoders
from ssl_jax.data.image.host import HostCrops
from ssl_jax.data.sources.base import Record, Source
from ssl_jax.data.stages import stage
from ssl_jax.errors import UserError

PLACES = ("device", "host")
_SHARED = (
    "classes",
    "labels",
    "notes",
    "scale",
    "name_of",
    "values",
    "example_order",
)  # of the records, and of their crops


@dataclass(frozen=True, eq=False)
class Cropped:
    """A source whose pictures are decoded whole, and become crops on the host when it is known which example they are.

    `source[i]` is a record with all of its picture. The pipeline makes examples of such records: `draws` gives the random
    numbers of each example of a batch, `drawn` what it is by its own.
    """

    source: Source
    host: HostCrops
    seed: int

    def __post_init__(self) -> None:
        for name in _SHARED:
            if hasattr(self.source, name):
                object.__setattr__(self, name, getattr(self.source, name))

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        source: Any = self.source
        if not hasattr(source, "encoded"):
            return source[index]
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        record = source.encoded(index)
        with stage("decode"):
            return record | {"image": source.decoding.whole(record["image"])}

    def draws(self, ids: np.ndarray, epochs: np.ndarray) -> Sequence[Any]:
        """Random numbers of the examples that the records `ids` [R] are in `epochs` [R]: the records' own, and the crops'."""
        crops = self.host.draws(threefry.example_keys(self.seed, epochs, ids))
        own = self.source.draws(ids, epochs) if hasattr(self.source, "draws") else [None] * len(ids)
        return list(zip(own, crops, strict=True))

    def drawn(self, record: Record, draws: Any) -> Record:
        """The example that a record of this source is, by its row of `draws`."""
        own, crops = draws
        record = record if own is None else cast(Any, self.source).drawn(record, own)
        with stage("crop"):
            return self.host(record, crops)

    def fingerprint(self) -> str:
        """That of the records: where they are cropped is no part of the data."""
        return self.source.fingerprint()


def cropped(source: Source, augment: Any, place: str, mode: str, seed: int) -> Source:
    """`source` as it is with `place` "device"; with "host" its pictures are cropped as `augment.host(mode)` says.

    Raises:
      UserError: an augmentation that leaves nothing to the host, or a way to resize that is not installed.
    """
    if place == "device":
        return source
    resize.require(mode)
    if not hasattr(augment, "host"):
        raise UserError(
            f"data.crop=host: {type(augment).__name__} has no `host(mode)` that says what to cut there; set data.crop=device"
        )
    return Cropped(source, augment.host(mode), seed)


def pictures_by(source: Any) -> dict[str, dict[str, str]]:
    """`{"pictures": ...}`: which library decodes and resizes the pictures of a source; {} where they are not encoded."""
    inner = source.source if isinstance(source, Cropped) else source
    mode = source.host.mode if isinstance(source, Cropped) else "antialias"
    return {"pictures": decoders() | {"resized": resize.kernel(mode)}} if hasattr(inner, "decoding") else {}
