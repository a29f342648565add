"""The data set that ships inside the package: a class-balanced subset of Fashion-MNIST.

H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
arXiv:1708.07747 (2017). MIT licence, kept beside the data in `fashion_mnist/NOTICE`. `tools/build_embedded_data`
rebuilds the file from the original IDX files.
"""

from __future__ import annotations

import functools
import importlib.resources
import io
import lzma
from dataclasses import dataclass

import numpy as np

from ssl_jax.data.sources.arrays import Columns, check_split

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_MAX_BYTES = 32 << 20  # 30,000 images of 784 bytes, labels and places are 23.6 MB


@dataclass(frozen=True, eq=False)
class Embedded(Columns):
    """A split of the embedded Fashion-MNIST subset: `image` uint8 [28, 28, 1], `label` int32.

    `pretrain` (20,000) and `probe` (5,000) are drawn from the original training images, `test` (5,000) from the
    original test images; every class is equally frequent and no image is in two splits. The stored order is shuffled,
    so that `limit` keeps the first so many records of every class in about equal parts.

    Example: `Embedded(split="probe", limit=1000)[0]["image"].shape == (28, 28, 1)`.
    """

    split: str = "pretrain"
    limit: int | None = None

    def __post_init__(self) -> None:
        check_split(self.split, ("pretrain", "probe", "test"))
        arrays = _arrays()
        columns = {"image": arrays[f"{self.split}_image"][..., None], "label": arrays[f"{self.split}_label"]}
        self._set(columns, CLASSES, self.limit)


@functools.cache
def _arrays() -> dict[str, np.ndarray]:
    """All arrays of the shipped file, decompressed once a process and read-only, since everybody gets the same ones."""
    packed = importlib.resources.files("ssl_jax.data").joinpath("fashion_mnist/fashion_mnist.npz.xz").read_bytes()
    data = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=256 << 20).decompress(packed, max_length=_MAX_BYTES)
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = dict(archive)
    for array in arrays.values():
        array.flags.writeable = False
    return arrays
