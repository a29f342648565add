"""Requests to a store that are given up when nothing moves any more, however long they take otherwise.

Clients bound how long an answer may take, but neither how long a server may leave unread what it is sent, nor all their
repetitions together. Here a request ends when none of its parts has arrived for a while: a long upload is none that hangs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

PART = 2**24  # bytes; what is larger goes up in parts, and each one that arrives is heard of
PARTS = {"chunksize": PART, "max_concurrency": 4}
FILES = 8  # at a time
EACH = {"put": "_put_file", "get": "_get_file", "pipe": "_pipe_file"}  # what is asked of several files, and of one
LOOK_SECONDS = 1.0


class Pulse:
    """When a part last arrived, in seconds of `time.monotonic`."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> None:
        """A part has arrived."""
        self.at = time.monotonic()


def asked(client: Any, verb: str, *words: Any, still: float, moved: Pulse, **options: Any) -> Any:
    """`client.verb(*words)`, where `client` is a file system of fsspec. ConnectionError if nothing moved for `still` seconds."""
    if not getattr(client, "async_impl", False):  # one in memory
        return getattr(client, verb)(*words, **options)
    from fsspec.asyn import sync

    if verb in EACH:
        pairs = words[0].items() if verb == "pipe" else zip(*words, strict=True)
        heard = {} if verb == "pipe" else {"callback": _listening(moved)} | (PARTS if verb == "put" else {})
        request = lambda: _each(getattr(client, EACH[verb]), pairs, heard)  # noqa: E731
    else:
        request = lambda: getattr(client, f"_{verb}")(*words, **options)  # noqa: E731
    return sync(client.loop, lambda: _unless_still(request(), still, moved))


async def _each(one: Callable[..., Any], pairs: Iterable[tuple[Any, Any]], options: dict[str, Any]) -> None:
    """`one` of each of the `pairs`, some at a time. When one fails, or all of it is cancelled, none goes on by itself:
    clients leave that to their tasks, and what was given up would arrive after what is newer."""
    places = asyncio.Semaphore(FILES)

    async def in_turn(pair: tuple[Any, Any]) -> None:
        async with places:
            await one(*pair, **options)

    try:
        async with asyncio.TaskGroup() as group:
            for pair in pairs:
                group.create_task(in_turn(pair))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def _unless_still(request: Coroutine[Any, Any, Any], still: float, moved: Pulse) -> Any:
    """What `request` returns. It is cancelled, so that it cannot arrive later, when nothing moves."""
    task, begun = asyncio.ensure_future(request), time.monotonic()
    while not task.done():
        await asyncio.wait({task}, timeout=min(LOOK_SECONDS, still))
        if not task.done() and time.monotonic() - max(begun, moved.at) > still:
            task.cancel()
            await asyncio.wait({task}, timeout=LOOK_SECONDS)
            raise ConnectionError(f"a request was not answered, and nothing of it moved, for {still:g} s")
    return task.result()


def _listening(moved: Pulse) -> Any:
    """A callback that hears of the parts of a file that arrived."""
    from fsspec.callbacks import Callback

    class Parts(Callback):
        def relative_update(self, inc: int = 1) -> None:
            moved()

        def absolute_update(self, value: int) -> None:
            moved()

    return Parts()
