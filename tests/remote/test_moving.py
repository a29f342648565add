"""A request that hangs is given up; one that takes long is not."""

import asyncio
import time
from types import SimpleNamespace

import pytest
from fsspec.asyn import get_loop

from ssl_jax.remote.moving import Pulse, asked


def client(put):
    """A client whose `put` of one file is the coroutine `put(callback)`."""

    async def several(files, names, callback, **options):
        with callback.branched(files[0], names[0]) as parts:
            try:
                return await put(parts)
            finally:
                callback.relative_update(1)  # as fsspec does, for files that fail too

    return SimpleNamespace(async_impl=True, loop=get_loop(), _put=several)


def test_an_upload_whose_parts_arrive_takes_as_long_as_it_takes():
    async def slowly(parts):
        for _ in range(8):
            await asyncio.sleep(0.1)
            parts.relative_update(1)
        return "there"

    assert asked(client(slowly), "put", ["a"], ["b"], still=0.4, moved=Pulse()) == "there"


def test_one_of_which_nothing_moves_is_cancelled_and_never_arrives():
    arrived, moved = [], Pulse()

    async def never(parts):
        await asyncio.sleep(1)
        arrived.append(True)

    with pytest.raises(ConnectionError, match=r"nothing of it moved, for 0.2 s"):
        asked(client(never), "put", ["a"], ["b"], still=0.2, moved=moved)
    time.sleep(1)
    assert not arrived
    assert moved.at == 0  # so that what is tried again and again counts as no progress
