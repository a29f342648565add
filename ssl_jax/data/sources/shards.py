"""Files that a pattern names, `/data/{0000..0123}.tar` or `/data/train*`, and reads from any place in them."""

from __future__ import annotations

import functools
import glob
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ssl_jax.data import files, stores
from ssl_jax.data.sources import manifest
from ssl_jax.data.sources.arrays import spread
from ssl_jax.data.sources.beside import LABELS
from ssl_jax.errors import UserError

_MOST = 100_000  # files of one pattern
_OPEN = 256  # files that are kept open, below what systems allow a process
_ENDS = 1 << 16  # bytes of each end of a shard that its digest sees
_HASHED = 512  # shards that a fingerprint looks into
_BRACE = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})", re.ASCII)


class Shard(NamedTuple):
    """A file as it was when it was found: another size or time later means another file.

    path: of a file, or the address of an object in a store. time: nanoseconds; of an object, a number of its content.
    """

    path: str
    size: int
    time: int

    @property
    def remote(self) -> bool:
        """Whether it lies in a store."""
        return "://" in self.path

    @property
    def name(self) -> str:
        """The last part of its path."""
        return os.path.basename(self.path)


class Place(NamedTuple):
    """Which shard holds a record, and which one of that shard's it is."""

    shard: int
    row: int


def find(pattern: str | os.PathLike[str], suffix: str, what: str) -> tuple[Shard, ...]:
    """The regular files that `pattern` names, those of `*`, `?` and `[...]` in the order of their names.

    A folder stands for the files in it that end in `suffix`; `what` says in a message what to name. Manifest and labels
    that `ssl-jax data prepare` leaves beside its files are none of them.

    Raises:
      UserError: none, one that a brace names is not there, one that is no regular file, or more than 100,000.
    """
    matching = (_found(path, suffix) for path in expand(os.path.expanduser(os.fspath(pattern))))
    found = list(itertools.islice(itertools.chain.from_iterable(matching), _MOST + 1))
    if not found or len(found) > _MOST:
        raise UserError(f"{os.fspath(pattern)!r} names {'no' if not found else 'more than 100,000'} files; name {what}")
    return tuple(map(_shard, found))


def of(paths: Iterable[str]) -> tuple[Shard, ...]:
    """Files by their paths. UserError for one that is no regular file that can be read."""
    return tuple(map(_shard, paths))


def expand(pattern: str) -> Iterator[str]:
    """`a{0..2}` -> a0, a1, a2 (`{00..10}` keeps its zeros), `{a,b}` -> a, b; several braces in all combinations.

    Braces of other content stand for themselves.
    """
    brace = next((b for b in _BRACE.finditer(pattern) if _RANGE.fullmatch(b[1]) or "," in b[1]), None)
    if brace is None:
        yield pattern
        return
    for choice in _choices(brace[1]):
        for rest in expand(pattern[brace.end() :]):
            yield pattern[: brace.start()] + choice + rest


def read_at(shard: Shard, offset: int, size: int) -> bytes:
    """`size` bytes of a shard. Safe to share between threads.

    Raises:
      ValueError: more than a record may have, or the file is not what it was, or ends before.
      OSError: it cannot be read.
    """
    if not 0 <= size <= files.MAX_BYTES:
        raise ValueError(f"{size} bytes: more than the {files.MAX_BYTES} of which a record may be made")
    data = (
        stores.read_at(shard.path, offset, size) if shard.remote else os.pread(_opened(shard).descriptor, size, offset)
    )
    if len(data) != size:
        raise ValueError(f"{shard.path!r} ends at byte {offset + len(data)}, inside of a record")
    return data


def require_same(shard: Shard, found: os.stat_result | None = None) -> None:
    """ValueError where the file of a shard is another one by now. OSError where there is none."""
    if shard.remote:
        return
    found = os.stat(shard.path) if found is None else found
    if (found.st_size, found.st_mtime_ns) != (shard.size, shard.time):
        raise ValueError(f"{shard.path!r} is another file than when it was opened first")


def require_local(found: tuple[Shard, ...], what: str) -> None:
    """UserError where one of the files lies in a store, for formats that are not read in pieces from there."""
    away = next((shard.path for shard in found if shard.remote), None)
    if away is not None:
        raise UserError(
            f"{what} are not read from a store, and {away!r} lies in one: tar: and parquet: are; or copy it to a disk"
        )


def see(digest: Any, shards: tuple[Shard, ...]) -> None:
    """Let a SHA-256 see the names and sizes of all shards, and both ends of (evenly spread) 512 at most."""
    digest.update("\n".join(f"{shard.name} {shard.size}" for shard in shards).encode("utf-8", "surrogateescape"))
    for i in spread(len(shards), _HASHED):
        digest.update(ends(shards[i]))


def ends(shard: Shard) -> bytes:
    """The first and the last 64 kB of a shard."""
    size = min(_ENDS, shard.size)
    return read_at(shard, 0, size) + read_at(shard, shard.size - size, size)


def place_of(starts: Any, index: int) -> Place:
    """Where record `index` lies; `starts` [S + 1] are the numbers of the first records of the shards, and of all."""
    if not 0 <= index < starts[-1]:
        raise IndexError(f"record {index} of {starts[-1]}")
    shard = int(starts.searchsorted(index, "right")) - 1
    return Place(shard, index - int(starts[shard]))


def _found(path: str, suffix: str) -> Iterable[str | stores.Found]:
    """What a path, perhaps with `*`, stands for: files of this machine, or objects of a store with what is known of them."""
    if stores.is_address(path):
        return stores.find(path)
    if os.path.isdir(path):
        return sorted(glob.glob(f"{glob.escape(path)}/*{suffix}"))
    if not glob.has_magic(path) or os.path.exists(path):
        return [path]
    return sorted(name for name in glob.glob(path) if not name.endswith((f"/{manifest.NAME}", LABELS)))


def _choices(inside: str) -> Iterator[str]:
    found = _RANGE.fullmatch(inside)
    if not found:
        return iter(inside.split(","))
    first, last = int(found[1]), int(found[2])
    step = 1 if first <= last else -1
    return (f"{n:0{len(found[1])}d}" for n in range(first, last + step, step))


def _shard(found: str | stores.Found) -> Shard:
    if isinstance(found, stores.Found):
        return Shard(*found)
    try:
        os.close(files.opened(found))
        state = os.stat(found)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise UserError(f"{found!r} cannot be read ({said}); give files that are there") from error
    return Shard(os.path.abspath(found), state.st_size, state.st_mtime_ns)


class _Open:
    """A descriptor that is closed when nobody uses it any more."""

    def __init__(self, shard: Shard) -> None:
        self.descriptor = files.opened(shard.path)
        require_same(shard, os.fstat(self.descriptor))

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


@functools.lru_cache(maxsize=_OPEN)
def _opened(shard: Shard) -> _Open:
    return _Open(shard)
