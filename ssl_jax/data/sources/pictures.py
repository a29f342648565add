"""Records that hold an encoded picture, the bytes of a JPEG or PNG: what their sources share.

A source says where the bytes lie (`encoded`); how they become pixels is said once, here. Whoever wants the whole picture, as
random crops on the host do, takes `encoded(i)` and decodes it himself, by `decoding`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.data.image import pixels as pixel_ranges
from ssl_jax.data.image.decode import MAX_PIXELS, channels_of, decode_image, decoded, wide_values
from ssl_jax.data.sources.arrays import spread
from ssl_jax.data.sources.base import Record
from ssl_jax.data.stages import stage
from ssl_jax.errors import UserError

_SEEN = 64  # pictures that are looked at for numbers that are not 8-bit


class Decoding(NamedTuple):
    """How the encoded pictures of a source become uint8 [size, size, channels]: the arguments of `decode_image`."""

    size: int
    channels: int
    max_pixels: int
    scale: pixel_ranges.Range | None

    def __call__(self, data: bytes) -> np.ndarray:
        """The central square of a picture. Raises what `decode_image` does."""
        return decode_image(data, *self)

    def whole(self, data: bytes) -> np.ndarray:
        """All of a picture, uint8 [H, W, channels]. Raises what `decode_image` does."""
        return decoded(data, self.channels, self.max_pixels, self.scale)


@dataclass(frozen=True, eq=False, kw_only=True)
class EncodedPictures:
    """Base of sources whose records hold an encoded picture: `source[i]` decodes what `source.encoded(i)` reads.

    A source has `__len__`, `encoded`, and what it needs of `classes`, `values`, `name_of` and `fingerprint`, which starts from
    `_digest()`. Its `__post_init__` begins with that of this class, and ends with `_look(notes)` once `encoded` works.

    Args:
      size: side of the square that every picture becomes; how it is scaled, `ssl_jax.data.image.decode.decode_image` says.
      channels: 3 (RGB) or 1 (grey), to which every picture is converted; or the number that all of them have, for RGBA as it is
        and for pages of a TIFF.
      max_pixels: pictures with more are bad records.
      pixels: which numbers are black and white in pictures of 16 bits, 32 bits or floats, e.g. (0, 4095). Without it, what
        64 pictures of the source hold decides, if most are of that kind, and it is told in `notes`. Pictures of other kinds or
        with other numbers are bad records.

    `source[i]` raises (ValueError, OSError, SyntaxError) on a bad picture; `ssl_jax.data.bad.BadRecords` deals with that.
    """

    size: int
    channels: int = 3
    max_pixels: int = MAX_PIXELS
    pixels: Sequence[float] | None = None
    classes: tuple[str, ...] = field(init=False, repr=False, default=())
    notes: tuple[str, ...] = field(init=False, repr=False, default=())
    scale: pixel_ranges.Range | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if self.size < 1 or self.channels < 1:
            raise UserError(f"size={self.size}, channels={self.channels}: use a positive size and 1 or 3 channels")

    def __len__(self) -> int:
        raise NotImplementedError

    def encoded(self, index: int) -> Record:
        """Record `index` in [0, len) with `image` as the bytes of a picture, and its other fields as `source[index]` has them."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        record = self.encoded(index)
        with stage("decode"):
            return record | {"image": self.decoding(record["image"])}

    @property
    def decoding(self) -> Decoding:
        """How its pictures become pixels."""
        return Decoding(self.size, self.channels, self.max_pixels, self.scale)

    def values(self, name: str) -> np.ndarray | None:
        """All values of a field [N, ...], or None where that would take reading records."""
        return None

    def name_of(self, index: int) -> str:
        """What a person calls the record, for lists of bad ones."""
        return str(index)

    def fingerprint(self) -> str:
        """SHA-256 in hex of the options and the records."""
        raise NotImplementedError

    @staticmethod
    def example(size: int, channels: int = 3, **_: object) -> Record:
        """A record of zeros like those of labelled pictures with these options, for `ssl-jax plan`: reads nothing."""
        return {"image": np.zeros((size, size, channels), np.uint8), "label": np.zeros((), np.int32)}

    def _digest(self) -> Any:
        """A SHA-256 that has seen the options."""
        scale = "" if self.scale is None else f" {self.scale}"
        return hashlib.sha256(f"{self.size} {self.channels} {self.max_pixels}{scale}\n".encode())

    def _look(self, notes: Iterable[str] = ()) -> None:
        """Decide what is black and white, from some of the pictures where nobody said it, and keep the notes."""
        if self.channels not in (1, 3):
            self._require_channels()
        wide = self._wide()
        object.__setattr__(self, "scale", wide)
        object.__setattr__(self, "notes", (*([] if wide is None else [wide.note("wide")]), *notes))

    def _require_channels(self) -> None:
        """UserError unless a picture can be found that has `channels` of them."""
        found: set[int] = set()
        for i in spread(len(self), _SEEN):
            with suppress(Exception):  # a bad record
                found.add(channels_of(self.encoded(int(i))["image"]))
        if self.channels not in found:
            raise UserError(
                f"channels={self.channels}, and pictures have {', '.join(map(str, sorted(found))) or 'none'}: use 1 or 3, to "
                f"which all are converted, or the number that they have"
            )

    def few_wide(self) -> pixel_ranges.Range | None:
        """What would be black and white in pictures that are not 8-bit and are bad records here, since fewer than half are so;
        None where none of 64 is, or their floats do not say.
        """
        with suppress(UserError):
            return None if self.scale is not None else _range_of(self._found_wide())
        return None

    def _wide(self) -> pixel_ranges.Range | None:
        """What is black and white in pictures that are not 8-bit; None where most are, and nobody said it."""
        if self.pixels is not None:
            return pixel_ranges.said(self.pixels)
        found = self._found_wide()
        return _range_of(found) if 2 * len(found) > len(spread(len(self), _SEEN)) else None

    def _found_wide(self) -> list[np.ndarray]:
        """The numbers of those of 64 pictures that are not 8-bit."""
        return [x for i in spread(len(self), _SEEN) if (x := self._wide_values(int(i))) is not None]

    def _wide_values(self, index: int) -> np.ndarray | None:
        """The numbers of a picture that is not 8-bit. One that cannot be read is a bad record, not a reason to stop here."""
        with suppress(Exception):
            return wide_values(self.encoded(index)["image"])
        return None


def _range_of(found: Sequence[np.ndarray]) -> pixel_ranges.Range | None:
    """What is black and white in pictures with these numbers; None without any. UserError for floats that do not say."""
    if not found:
        return None
    low, high = min(x.min() for x in found), max(x.max() for x in found)
    floats = any(x.dtype.kind == "f" for x in found)
    return pixel_ranges.of_floats(low, high) if floats else pixel_ranges.of_integers(int(low), int(high))
