"""A request that hangs is given up; one that takes long is not."""

import asyncio
import time
from types import SimpleNamespace

import pytest
from fsspec.asyn import get_loop

from ssl_jax.remote.moving import Pulse, asked


def client(put):
    """A client whose upload of a file is the coroutine `put(callback)`."""

    async def one(file, name, callback, **options):
        return await put(callback)

    return SimpleNamespace(async_impl=True, loop=get_loop(), _put_file=one)


def test_an_upload_whose_parts_arrive_takes_as_long_as_it_takes():
    async def slowly(parts):
        for _ in range(8):
            await asyncio.sleep(0.1)
            parts.relative_update(1)
        arrived.append(True)

    arrived = []
    asked(client(slowly), "put", ["a", "b"], ["a", "b"], still=0.4, moved=Pulse())
    assert arrived == [True, True]


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


def test_when_one_file_fails_its_error_is_told_and_the_others_do_not_arrive_later():
    arrived = []

    async def fails(file, name, **options):
        if file == "a":
            raise PermissionError("not yours")
        await asyncio.sleep(0.3)
        arrived.append(file)

    with pytest.raises(PermissionError, match="not yours"):
        asked(
            SimpleNamespace(async_impl=True, loop=get_loop(), _put_file=fails),
            "put", ["b", "a"], ["b", "a"], still=5, moved=Pulse(),
        )  # fmt: skip
    time.sleep(0.5)
    assert not arrived
