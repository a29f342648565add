"""IDX files, the format of the MNIST family: a four-byte magic, big-endian sizes, then the values.

Format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", http://yann.lecun.com/exdb/mnist/ (1998).
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.sources.arrays import Columns, check_labels, check_split
from ssl_jax.data.sources.embedded import CLASSES
from ssl_jax.data.sources.prepared import Tfds
from ssl_jax.errors import UserError

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_AXES = 8  # numpy takes 64, no records have so many
_PIECE = 1 << 20  # bytes decompressed at a time: a read of all that is announced would take the memory first
MAX_BYTES = 8 << 30  # a header may ask for 2^64 bytes; nothing that is really IDX comes near this
FASHION_MNIST_ROOT = "/usr/share/datasets/fashion-mnist"  # where the Debian package puts its files


@dataclass(frozen=True, eq=False)
class Idx(Columns):
    """Records from IDX files, plain (memory-mapped) or gzip (decompressed once): `image` and, if given, `label` int32.

    Args:
      images: path of the file with the values, [N, H, W] (a channel axis is added), [N, H, W, C] or any [N, ...].
      labels: path of the file with the labels [N], or None.
      classes: names of the classes; labels are then checked to be in [0, len(classes)).
      num_classes: the same check where there are no names.
      limit: keep only the first so many records.
      pixels: which numbers are black and white, as in `Arrays`.

    Raises:
      UserError: a missing or damaged file, different lengths, or labels out of range.
    """

    images: str | Path
    labels: str | Path | None = None
    classes: Sequence[str] = ()
    num_classes: int | None = None
    limit: int | None = None
    pixels: Sequence[float] | None = None

    def __post_init__(self) -> None:
        columns = {"image": _with_channel(read_idx(self.images))}
        checks = [files.uncut(self.images)]
        if self.labels is not None:
            columns["label"] = check_labels(read_idx(self.labels), self.num_classes)
        self._set(columns, self.classes, self.limit, self.pixels, checks)


@dataclass(frozen=True, eq=False)
class FashionMNIST(Columns):
    """All of Fashion-MNIST: `image` uint8 [28, 28, 1], `label` int32, ten classes.

    H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747 (2017). `train`, `pretrain` and `probe` are the 60,000 training
    images, `test` the 10,000 test images.

    The original IDX files are looked for in `root`, else where the environment variable SSL_JAX_FASHION_MNIST says,
    else where the Debian package dataset-fashion-mnist puts them. Where nobody said and there are none, a prepared TFDS
    `fashion_mnist` (in TFDS's own default directory) is read into memory instead; it holds the images in another order.

    Raises:
      UserError: the data is in none of these places, or is damaged.
    """

    split: str = "pretrain"
    root: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        check_split(self.split, ("pretrain", "probe", "train", "test"))
        said = self.root or os.environ.get("SSL_JAX_FASHION_MNIST")
        root, part = Path(said or FASHION_MNIST_ROOT), "test" if self.split == "test" else "train"
        columns = _fashion_mnist_idx(root, part)
        if columns is None and not said:
            columns = _fashion_mnist_tfds(part, self.limit)
        if columns is None:
            raise UserError(
                f"no Fashion-MNIST IDX files in {str(root)!r}; install the Debian package dataset-fashion-mnist, or "
                f"point `root` or SSL_JAX_FASHION_MNIST at a directory with {_fashion_mnist_names(part)[0]}.gz and the "
                f"like, or prepare TFDS fashion_mnist with file_format='array_record'; "
                f"ssl_jax.data.sources:Embedded holds a part of it and needs nothing"
            )
        self._set(columns, CLASSES, self.limit)


def _fashion_mnist_names(part: str) -> tuple[str, str]:
    prefix = {"train": "train", "test": "t10k"}[part]
    return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"


def _fashion_mnist_idx(root: Path, part: str) -> dict[str, np.ndarray] | None:
    """The columns from IDX files in `root`, or None where one is missing."""
    found = [next((p for p in (root / f"{n}.gz", root / n) if p.is_file()), None) for n in _fashion_mnist_names(part)]
    if not all(found):
        return None
    images, labels = (read_idx(path) for path in found if path)
    return {"image": _with_channel(images), "label": labels}


def _fashion_mnist_tfds(part: str, limit: int | None) -> dict[str, np.ndarray] | None:
    """The columns from a prepared TFDS data set, or None where there is none."""
    try:
        source = Tfds("fashion_mnist", part if limit is None else f"{part}[:{limit}]")
    except UserError:
        return None
    records = [source[i] for i in range(len(source))]
    return {name: np.stack([record[name] for record in records]) for name in ("image", "label")}


def _with_channel(images: np.ndarray) -> np.ndarray:
    return images[..., None] if images.ndim == 3 else images


def read_idx(path: str | Path, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """The array in an IDX file, plain or gzip, in native byte order; read-only where the file is memory-mapped.

    The header is believed only where the file holds exactly the values it announces: never more than the announced
    size is decompressed, and an announcement above `max_bytes` is refused before anything is allocated.

    Raises:
      UserError: no such file, not IDX, a damaged gzip stream, or sizes that the content does not have.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no IDX file at {str(path)!r}; give the path of an *-ubyte or *-ubyte.gz file")
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        if zipped:
            with gzip.open(path, "rb") as unzipped:
                shape, dtype, _ = _header(unzipped, path, max_bytes)
                return _read_values(unzipped, path, shape, dtype)
        with path.open("rb") as file:
            shape, dtype, offset = _header(file, path, max_bytes)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{str(path)!r} is a damaged gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise UserError(f"{str(path)!r} cannot be read ({error}); check that it is readable and whole") from error
    return _map_values(path, shape, dtype, offset)


def _header(file: BufferedIOBase, path: Path, max_bytes: int) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, dtype and length in bytes of the header at the start of `file`."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES or magic[3] == 0:
        raise UserError(f"{str(path)!r} is not an IDX file: it starts with {magic.hex() or 'nothing'}")
    if magic[3] > MAX_AXES:
        raise UserError(
            f"{str(path)!r} announces {magic[3]} axes, and no more than {MAX_AXES} are read; fetch it again"
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise UserError(f"{str(path)!r} ends inside its IDX header; fetch it again")
    shape, dtype = struct.unpack(f">{magic[3]}I", sizes), np.dtype(_DTYPES[magic[2]])
    size = math.prod(shape) * dtype.itemsize
    if size == 0:
        raise UserError(f"{str(path)!r} announces no values, shape {shape}; fetch it again")
    if size > max_bytes:
        raise UserError(
            f"{str(path)!r} announces {size} bytes of shape {shape}, above the limit of {max_bytes}; "
            f"check the file, or raise max_bytes if it is really that large"
        )
    return shape, dtype, 4 + len(sizes)


def _read_values(file: BufferedIOBase, path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = math.prod(shape) * dtype.itemsize
    values = _up_to(file, size + 1)  # one byte more than announced tells a longer file, and bounds what is decompressed
    if len(values) != size:
        raise _wrong_size(path, shape, size, f"{'more than ' if len(values) > size else ''}{min(len(values), size)}")
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _up_to(file: BufferedIOBase, size: int) -> bytearray:
    """The next `size` bytes, or all there are, taking no more memory than there are bytes."""
    found = bytearray()
    while len(found) < size and (piece := file.read(min(_PIECE, size - len(found)))):
        found += piece
    return found


def _map_values(path: Path, shape: tuple[int, ...], dtype: np.dtype, offset: int) -> np.ndarray:
    size, found = math.prod(shape) * dtype.itemsize, path.stat().st_size - offset
    if found != size:
        raise _wrong_size(path, shape, size, str(found))
    return np.memmap(path, dtype, "r", offset, shape).astype(dtype.newbyteorder("="), copy=False)


def _wrong_size(path: Path, shape: tuple[int, ...], size: int, found: str) -> UserError:
    return UserError(f"{str(path)!r} announces {size} bytes of shape {shape} but holds {found}; fetch it again")
