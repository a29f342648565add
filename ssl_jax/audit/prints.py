"""What is kept of every picture: a digest of its pixels, and a thumbnail. About 1.2 kB a record, in a file that has no name."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ssl_jax.audit.frequencies import SIDE, shrunk
from ssl_jax.audit.pictures import Loaded, chunks
from ssl_jax.data.bad import BadRecord

DIGEST = 16  # bytes
TINT = 4  # cells each way in which colours are compared
GREY = np.array((0.2989, 0.587, 0.114), np.float32)


@dataclass(frozen=True)
class Prints:
    """Of N pictures: `digest`, and that of the `mirrored` picture, uint8 [N, 16]; `size` rows and columns int32 [N, 2] (0 where
    it cannot be read); `thumb` grey uint8 [N, 32, 32]; `tint` red, green, blue uint8 [N, 4, 4, 3]; `channels` int32 [N]."""

    digest: np.ndarray
    mirrored: np.ndarray
    size: np.ndarray
    thumb: np.ndarray
    tint: np.ndarray
    channels: np.ndarray
    bad: tuple[BadRecord, ...] = ()

    @property
    def columns(self) -> tuple[np.ndarray, ...]:
        """All that there is one of for each picture."""
        return self.digest, self.mirrored, self.size, self.thumb, self.tint, self.channels

    def __len__(self) -> int:
        return len(self.digest)


def prints(source: Any, key: str = "image", say: Callable[[int], None] = lambda done: None) -> Prints:
    """The prints of all records. Those that cannot be read are listed in `bad`, and are like no other."""
    found, bad = empty(len(source)), []
    for ids, pictures in chunks(source, key):
        bad += [each for each in pictures if isinstance(each, BadRecord)]
        for where, print_ in zip(found.columns, _of_chunk(pictures), strict=True):
            where[ids] = print_
        say(int(ids[-1]) + 1)
    for each in bad:  # a digest of its own
        own = np.frombuffer(_hash(f"bad {each.index} {each.name}".encode()), np.uint8)
        found.digest[each.index] = found.mirrored[each.index] = own
    return replace(found, bad=tuple(bad))


def empty(count: int) -> Prints:
    """Room for so many prints."""
    small = ((count, DIGEST), (count, DIGEST), (count, 2))
    digest, mirrored, size = (np.zeros(s, t) for s, t in zip(small, ("u1", "u1", "i4"), strict=True))
    thumb, tint = _scratch((count, SIDE, SIDE)), _scratch((count, TINT, TINT, 3))
    return Prints(digest, mirrored, size, thumb, tint, np.zeros(count, "i4"))


def joined(a: Prints, b: Prints) -> Prints:
    """The prints of both, those of `a` first."""
    both = empty(len(a) + len(b))
    for whole, first, second in zip(both.columns, a.columns, b.columns, strict=True):
        whole[: len(a)], whole[len(a) :] = first, second
    return both


def _scratch(shape: tuple[int, ...]) -> np.ndarray:
    """Bytes in a file that goes with the process: the system keeps in memory as much of it as there is room for."""
    return np.memmap(tempfile.TemporaryFile(), np.uint8, "w+", shape=shape)


def _of_chunk(pictures: Sequence[Loaded]) -> list[np.ndarray]:
    """Columns of `Prints` for some pictures; pictures of one shape are shrunk together."""
    plain = [np.zeros((1, 1, 1), np.uint8) if isinstance(p, BadRecord) else one_channel(p) for p in pictures]
    digest = [_digest(p) for p in plain]
    mirrored = [_digest(p[:, ::-1]) for p in plain]
    size = [(0, 0) if isinstance(p, BadRecord) else p.shape[:2] for p in pictures]
    thumb, tint = (np.empty((len(plain), *shape), np.uint8) for shape in ((SIDE, SIDE), (TINT, TINT, 3)))
    shapes: dict[tuple, list[int]] = {}
    for place, p in enumerate(plain):
        shapes.setdefault((p.shape, p.dtype.str), []).append(place)
    for places in shapes.values():
        stack = bytes_of(np.stack([plain[i] for i in places]))
        thumb[places], tint[places] = _byte(shrunk(_grey(stack), SIDE)), _tint(stack)
    columns = [np.array([np.frombuffer(d, np.uint8) for d in each]) for each in (digest, mirrored)]
    return [*columns, np.array(size), thumb, tint, np.array([p.shape[-1] for p in plain])]


def one_channel(picture: np.ndarray) -> np.ndarray:
    """A grey picture [H, W, 1] where three channels say the same, so that grey is the same grey however it is stored."""
    same = picture.shape[-1] == 3 and np.array_equal(picture[..., 0], picture[..., 1])
    return picture[..., :1] if same and np.array_equal(picture[..., 0], picture[..., 2]) else picture


def bytes_of(stack: np.ndarray) -> np.ndarray:
    """Pixels as float32 in [0, 255]: of floats 1 is white, of wide integers the brightest of each picture."""
    if stack.dtype == np.uint8:
        return stack.astype(np.float32)
    if stack.dtype.kind == "f":
        return np.clip(np.nan_to_num(stack.astype(np.float32)), 0, 1) * 255
    top = stack.max(axis=(1, 2, 3), keepdims=True).astype(np.float32)
    return np.clip(stack.astype(np.float32) / np.maximum(top, 1), 0, 1) * 255


def _digest(picture: np.ndarray) -> bytes:
    head = f"{picture.shape} {picture.dtype.str} ".encode()
    return _hash(head + np.ascontiguousarray(picture).tobytes())


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST).digest()


def _grey(stack: np.ndarray) -> np.ndarray:
    return stack[..., :3] @ GREY if stack.shape[-1] in (3, 4) else stack.mean(axis=-1)


def _tint(stack: np.ndarray) -> np.ndarray:
    channels = stack[..., :3] if stack.shape[-1] in (3, 4) else np.repeat(stack.mean(-1, keepdims=True), 3, axis=-1)
    return _byte(np.moveaxis(shrunk(np.moveaxis(channels, -1, 1), TINT), 1, -1))


def _byte(x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)
