"""Files in object stores, `s3://` and `gs://`, read in pieces. Nothing is written there."""

from __future__ import annotations

import functools
import glob
import hashlib
import importlib
import logging
import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from ssl_jax.errors import UserError

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://[^/]+/.+", re.DOTALL)
_CLIENTS = {
    "s3": ("s3fs", "s3"),
    "gs": ("gcsfs", "gcs"),
}  # scheme -> module of the client, and the extra that brings it
_EMULATOR = "STORAGE_EMULATOR_HOST"
_SECONDS = 60  # how long one answer may take
_BLOCK = 8 << 20  # bytes that are fetched at a time where a file is gone through

ReadAt = Callable[[int, int], bytes]


class Found(NamedTuple):
    """An object: its address, its size, and a number that is another one when it is replaced."""

    address: str
    size: int
    stamp: int


def is_address(path: str) -> bool:
    """Whether a path is the address of something in a store. UserError for stores that are not known, and for a bare bucket."""
    if "://" not in path:
        return False
    match = _ADDRESS.fullmatch(path)
    if not match or match[1] not in _CLIENTS:
        raise UserError(f"{path!r} is no address that data are read from; write s3://BUCKET/NAME or gs://BUCKET/NAME")
    return True


def find(address: str) -> list[Found]:
    """The objects of an address, in which `*`, `?` and `[...]` may stand. UserError where the store cannot be asked."""
    scheme, client = address.partition("://")[0], client_of(address)
    try:
        if glob.has_magic(address):
            listed = client.glob(address, detail=True)
            about = [listed[name] for name in sorted(listed)]
        else:
            about = [client.info(address)]
    except Exception as error:  # the clients have no common class of errors
        raise UserError(
            f"{address} cannot be read: {_said(error)}; check the name, the credentials and the network"
        ) from error
    return [Found(f"{scheme}://{one['name']}", int(one["size"]), _stamp(one)) for one in about if one["type"] == "file"]


def read_at(address: str, offset: int, size: int) -> bytes:
    """`size` bytes of an object. OSError where the store does not give them."""
    try:
        return client_of(address).cat_file(address, start=offset, end=offset + size) if size else b""
    except Exception as error:
        raise OSError(f"{address} cannot be read: {_said(error)}") from error


def opened(address: str) -> Any:
    """An object as a file that is read in pieces."""
    return client_of(address).open(address, "rb")


def in_blocks(read: ReadAt, size: int) -> ReadAt:
    """`read` of a file of `size` bytes for going through it: a block is fetched at once, and the last one kept."""

    @functools.lru_cache(maxsize=2)
    def block(number: int) -> bytes:
        return read(number * _BLOCK, min(_BLOCK, size - number * _BLOCK))

    def through(offset: int, count: int) -> bytes:
        numbers = range(offset // _BLOCK, (offset + max(count, 1) - 1) // _BLOCK + 1)
        start = offset - numbers[0] * _BLOCK
        return b"".join(map(block, numbers))[start : start + count]

    return through


def client_of(address: str) -> Any:
    """The client of the store of an address."""
    return _client(address.partition("://")[0])


@functools.cache
def _client(scheme: str) -> Any:
    module, extra = _CLIENTS[scheme]
    if scheme == "gs" and _EMULATOR in os.environ:  # which knows no gRPC; gcsfs reads this at import
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    try:
        fsspec = importlib.import_module("fsspec")
        importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"{scheme}:// needs {module}, which cannot be imported ({error}): pip install ssl_jax[{extra}]"
        ) from error
    for name in (module, "fsspec", "aiobotocore", "botocore"):  # what they would print, our messages say
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return fsspec.filesystem(scheme, **_options(scheme))
    except Exception as error:  # credentials that cannot be read, a region that does not exist
        raise UserError(f"{scheme}:// cannot be used: {_said(error)}; are its credentials in place?") from error


def _options(scheme: str) -> dict[str, Any]:
    """What bounds one request, and what an emulator needs."""
    if scheme == "s3":
        return {"config_kwargs": {"connect_timeout": 5, "read_timeout": _SECONDS}}
    emulated = {"token": "anon"} if _EMULATOR in os.environ else {}
    return {"requests_timeout": _SECONDS, **emulated}


def _stamp(about: dict[str, Any]) -> int:
    """A number of what tells one content of an object from the next: its tag, generation or time."""
    told = [
        str(about[key]) for key in ("ETag", "etag", "generation", "mtime", "LastModified", "created") if key in about
    ]
    return int.from_bytes(hashlib.sha256(" ".join(told).encode()).digest()[:7], "little")


def _said(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
