"""Requests to a store that are given up when nothing moves any more, however long they take otherwise.

Clients bound how long an answer may take, but neither how long a server may leave unread what it is sent, nor all their
repetitions together. Here a request ends when none of its parts has arrived for a while: a long upload is none that hangs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

PART = 2**24  # bytes; what is larger goes up in parts, and each one that arrives is heard of
AT_ONCE = {"batch_size": 8}  # files
PARTS_AT_ONCE = {"chunksize": PART, "max_concurrency": 4}  # of each file
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

    options |= {"put": AT_ONCE | PARTS_AT_ONCE, "get": AT_ONCE}.get(verb, {})
    if verb in ("put", "get"):
        options["callback"] = _listening(moved)
    request = lambda: _unless_still(getattr(client, f"_{verb}")(*words, **options), still, moved)  # noqa: E731
    return sync(client.loop, request)


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
    """A callback for `put` and `get` that hears of parts of files. Of files it does not: those that failed end, too."""
    from fsspec.callbacks import Callback

    class Parts(Callback):
        def relative_update(self, inc: int = 1) -> None:
            moved()

        def absolute_update(self, value: int) -> None:
            moved()

    class Files(Callback):
        def branched(self, path_1: str, path_2: str, **options: Any) -> Parts:
            return Parts()

    return Files()
