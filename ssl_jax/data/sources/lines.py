"""Lines of large files: those of a stretch of bytes, and where all of them are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.sources import shards
from ssl_jax.data.sources.shards import Shard
from ssl_jax.errors import UserError

_BLOCK = 4 << 20  # bytes that are read at a time


class Spans(NamedTuple):
    """Where records lie: `shard` int32 [N], and the bytes [`begin`, `end`) of it, int64 [N]."""

    shard: np.ndarray
    begin: np.ndarray
    end: np.ndarray


def lines(shard: Shard, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """The lines that begin at bytes [start, stop) of a file, each with its place; empty ones are left out.

    Stretches that follow one another give every line once. UserError for a line above 512 MiB.
    """
    at = max(start - 1, 0)  # what stands before the first line feed belongs to a line that began before
    first, held = start > 0, b""
    for block in _blocks(shard, at):
        *whole, held = (held + block).split(b"\n")
        for line in whole:
            if at >= stop:
                return
            if not first and (text := line.removesuffix(b"\r")):
                yield at, text
            first, at = False, at + len(line) + 1
        _require_end(shard, at, held)
    if not first and at < stop and (text := held.removesuffix(b"\r")):
        yield at, text


def spans(found: tuple[Shard, ...]) -> Spans:
    """Every line of all files that `lines` gives."""
    parts = [_spans(shard) for shard in found]
    shard = np.repeat(np.arange(len(parts), dtype=np.int32), [len(begin) for begin, _ in parts])
    return Spans(shard, *(np.concatenate(both) for both in zip(*parts, strict=True)))


def _spans(shard: Shard) -> tuple[np.ndarray, np.ndarray]:
    """Begins and ends of the lines of a file, int64 [N] each, without line feed and carriage return."""
    ends, returns, at, last = [np.array([-1])], [np.array([0])], 0, 0
    for block in _blocks(shard, 0):
        found = np.frombuffer(block, np.uint8)
        feeds = np.flatnonzero(found == ord("\n"))
        before = np.where(feeds > 0, found[feeds - 1], last)
        ends.append(feeds + at)
        returns.append(before == ord("\r"))
        at, last = at + len(block), int(found[-1])
    feed = np.concatenate([*ends, [at]])
    begin, end = feed[:-1] + 1, feed[1:] - np.concatenate([*returns, [last == ord("\r")]])[1:]
    return begin[end > begin], end[end > begin]


def _blocks(shard: Shard, start: int) -> Iterator[bytes]:
    for at in range(start, shard.size, _BLOCK):
        yield shards.read_at(shard, at, min(_BLOCK, shard.size - at))


def _require_end(shard: Shard, at: int, held: bytes) -> None:
    if len(held) > files.MAX_BYTES:
        raise UserError(
            f"{shard.path!r} has a line of more than {files.MAX_BYTES >> 20} MiB at byte {at}: it is no file of a text a line; "
            "write it again with line feeds"
        )
