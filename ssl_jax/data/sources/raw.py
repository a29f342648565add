"""Pictures that were decoded once, by `ssl-jax data prepare --raw`: files of pixels that are mapped into memory."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.sources import shards
from ssl_jax.data.sources.arrays import check_labels
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.beside import labels_beside, load
from ssl_jax.data.sources.manifest import classes_beside
from ssl_jax.data.sources.shards import Shard
from ssl_jax.errors import UserError

PIXELS = ".pixels.npy"


@dataclass(frozen=True, eq=False)
class Raw:
    """Squares of pixels: `Raw("/cache/*.pixels.npy")`, with `image` uint8 [S, S, C] and, where there are any, `label` int32.

    `x.pixels.npy` holds uint8 [N, S, S, C] and `x.labels.npy` beside it int32 [N], -1 where there is no label. Nothing is
    decoded, so records cost what copying them does.

    Raises:
      UserError: no such files, or some that hold something else or other sizes.
    """

    files: str
    shards: tuple[Shard, ...] = field(init=False, repr=False)
    starts: np.ndarray = field(init=False, repr=False)
    classes: tuple[str, ...] = field(init=False, repr=False)
    _labels: np.ndarray | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        found = shards.find(self.files, PIXELS, f"files of pixels, as in raw:/cache/*{PIXELS}")
        shards.require_local(found, "files of pixels")
        shapes = [_pixels(shard).pixels.shape for shard in found]
        odd = next((i for i, shape in enumerate(shapes) if shape[1:] != shapes[0][1:]), None)
        if odd is not None:
            raise UserError(
                f"{found[odd].path!r} holds pictures of {shapes[odd][1:]} and others of {shapes[0][1:]}; name one set"
            )
        classes = classes_beside(found[0].path)
        labels = np.concatenate([_labels(shard, shape[0]) for shard, shape in zip(found, shapes, strict=True)])
        check_labels(np.maximum(labels, 0), len(classes) or None)
        object.__setattr__(self, "shards", found)
        object.__setattr__(self, "starts", np.cumsum([0, *(shape[0] for shape in shapes)]))
        object.__setattr__(self, "_labels", labels if (labels >= 0).any() else None)
        object.__setattr__(self, "classes", classes)
        if not len(self):
            raise UserError(f"{self.files!r} holds no records; prepare it again")

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return {name: values[0] for name, values in self.batch(np.array([index])).items()}

    def batch(self, ids: np.ndarray) -> Record:
        """The records `ids` [B], each field stacked to [B, ...]."""
        which = np.searchsorted(self.starts, ids, "right") - 1
        images = np.empty((len(ids), *_pixels(self.shards[0]).pixels.shape[1:]), np.uint8)
        for shard in np.unique(which):
            here = which == shard
            mapped = _pixels(self.shards[shard])
            mapped.check()
            images[here] = mapped.pixels[ids[here] - self.starts[shard]]
        return {"image": images} | ({} if self._labels is None else {"label": self._labels[ids]})

    def values(self, name: str) -> np.ndarray | None:
        """All labels [N]; None for other fields."""
        return self._labels if name == "label" else None

    def name_of(self, index: int) -> str:
        """The file of a record and its number there."""
        place = shards.place_of(self.starts, index)
        return f"{self.shards[place.shard].name}[{place.row}]"

    def fingerprint(self) -> str:
        """SHA-256 of the labels, and names, sizes and both ends of the files."""
        digest = hashlib.sha256(f"{self.classes} {self.starts.tolist()}\n".encode())
        digest.update(b"" if self._labels is None else self._labels.tobytes())
        shards.see(digest, self.shards)
        return digest.hexdigest()


@dataclass(frozen=True)
class _Mapped:
    pixels: np.ndarray
    check: Any  # that the file is as long as it was: to read a map beyond its end kills the process


@functools.lru_cache(maxsize=256)
def _pixels(shard: Shard) -> _Mapped:
    shards.require_same(shard)
    pixels = load(shard.path, mapped=True)
    if pixels.dtype != np.uint8 or pixels.ndim != 4:
        raise UserError(f"{shard.path!r} holds {pixels.dtype} {pixels.shape}, and pixels are uint8 [N, S, S, C]")
    return _Mapped(pixels, files.uncut(shard.path))


def _labels(shard: Shard, count: int) -> np.ndarray:
    """The labels of a file of pixels; all -1 where there are none."""
    found = labels_beside(shard.path, PIXELS, count)
    return np.full(count, -1, np.int32) if found is None else found
