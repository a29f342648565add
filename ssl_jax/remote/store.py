"""Objects under one address of a store, such as `s3://bucket/runs/x`. With `moving.py`, the only files that import fsspec.

Names are relative to the address. Whatever a client library raises because the store does not answer, or not as it should,
is `StoreAway`; FileNotFoundError means that there is no such object (or bucket).
"""

from __future__ import annotations

import importlib
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.remote.moving import Pulse, asked

ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
CLIENTS = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs")}  # scheme -> module of the client, and the extra that brings it
CONNECT_SECONDS = 5
REQUEST_SECONDS = 60  # how long an answer may take once all of a request was sent
STILL_SECONDS = 300  # how long nothing of a request may move, with the repetitions of its client
WRITTEN = ("LastModified", "mtime", "created")  # where clients keep when an object was written
SLOWEST = 10**6  # bytes a second that objects are expected to move at, where their parts are not heard of


class StoreAway(OSError):
    """The store did not do what it was asked. The message is the first line of what its client said."""


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is the address of something in a store. UserError for stores that are not known."""
    address = ADDRESS.fullmatch(os.fspath(path))
    if address and address[1] not in CLIENTS:
        known = ", ".join(f"{scheme}://" for scheme in CLIENTS)
        raise UserError(
            f"{path}: {address[1]}:// is not known; write a local directory, or an address that begins with {known}"
        )
    return address is not None


def local_only(path: str | os.PathLike[str], what: str) -> str:
    """`path`, which has to be local. UserError where it is an address: it would become a folder of that name."""
    if ADDRESS.match(os.fspath(path)):
        raise UserError(f"{what} {path} is in a store, and only local files can be used here; copy it to a disk first")
    return os.fspath(path)


@dataclass(frozen=True)
class Store:
    """The objects under `address`, by way of `client`, a file system of fsspec.

    A request of which nothing moves for `still` seconds is given up; `moved` says when a part of a file last arrived.
    """

    address: str
    client: Any
    still: float = STILL_SECONDS
    moved: Pulse = field(default_factory=Pulse, compare=False)

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Name -> bytes of every object whose name is `prefix` or lies below it."""
        with _answers():
            found = self._ask("find", self._at(prefix), detail=True)
        root = self.client._strip_protocol(self.address).rstrip("/") + "/"
        sizes = {path.removeprefix(root): int(entry["size"]) for path, entry in found.items() if path.startswith(root)}
        return {name: size for name, size in sizes.items() if _stays_below(name) and _within(name, prefix)}

    def read(self, name: str) -> bytes:
        """An object, whole."""
        with _answers():
            return self._ask("cat_file", self._at(name))

    def write(self, objects: Mapping[str, bytes]) -> None:
        """Put several objects in the place of whatever is there, at a time."""
        if objects:
            with _answers():
                sent = sum(map(len, objects.values()))
                self._ask("pipe", {self._at(name): data for name, data in objects.items()}, sent=sent)

    def create(self, name: str, data: bytes) -> bool:
        """Make an object unless there is one: the store decides, so one of several that try succeeds."""
        try:
            with _answers():
                self._ask("pipe_file", self._at(name), data, mode="create")
        except FileExistsError:
            return False
        return True

    def written(self, name: str) -> float:
        """When an object was written, in seconds by the store's clock."""
        with _answers():
            about = self._ask("info", self._at(name))
        return next(about[key] for key in WRITTEN if key in about).timestamp()

    def upload(self, files: Mapping[str, Path]) -> None:
        """Several files at a time, each to its name."""
        if files:
            with _answers():
                self._ask("put", [str(path) for path in files.values()], [self._at(name) for name in files])

    def download(self, files: Mapping[str, Path]) -> None:
        """Several objects at a time, each to its file, which is there whole or not at all."""
        beside = {name: path.with_name(f".{path.name}.{os.getpid()}") for name, path in files.items()}
        for path in beside.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        if files:
            with _answers():
                self._ask("get", [self._at(name) for name in files], [str(path) for path in beside.values()])
        for name, path in files.items():
            beside[name].replace(path)

    def move(self, names: Mapping[str, str]) -> None:
        """Rename objects, by copies inside the store; the first that is named is the first to go."""
        for name, new in names.items():
            with _answers():
                self._ask("copy", [self._at(name)], [self._at(new)])
        for name in names:
            self.remove([name])

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects; those that are gone already are no error."""
        if names:
            with _answers(), suppress(FileNotFoundError):
                self._ask("rm", [self._at(name) for name in names])

    def _ask(self, verb: str, *words: Any, sent: int = 0, **options: Any) -> Any:
        still = self.still + sent / SLOWEST
        return asked(self.client, verb, *words, still=still, moved=self.moved, **options)

    def _at(self, name: str) -> str:
        return f"{self.address}/{name}".rstrip("/")


def _within(name: str, prefix: str) -> bool:
    return not prefix or name == prefix or name.startswith(f"{prefix}/")


def _stays_below(name: str) -> bool:
    """Whether a file of that name lies in the folder that it is fetched into: names come from anywhere."""
    return not {"", ".", ".."} & set(name.split("/")) and "\\" not in name and "\0" not in name


def store_at(address: str) -> Store:
    """The store of an address, with the credentials that its client finds. UserError without that client, or a bucket."""
    scheme, path = ADDRESS.fullmatch(address).groups()  # type: ignore[union-attr]
    if not path.strip("/"):
        raise UserError(f"{address} names no bucket; write {scheme}://BUCKET/FOLDER")
    still = float(os.environ.get("SSL_JAX_STILL_SECONDS", STILL_SECONDS))
    return Store(address.rstrip("/"), _client(scheme), still)


def _client(scheme: str) -> Any:
    module, extra = CLIENTS[scheme]
    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme == "gs" and "STORAGE_EMULATOR_HOST" in os.environ:
        # An emulator answers plain HTTP alone; by default gcsfs asks for the kind of bucket by gRPC, and waits for a minute.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        options |= {"token": "anon"}
    try:
        fsspec = importlib.import_module("fsspec")
        importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"{scheme}:// needs {module}, which cannot be imported ({error}): pip install ssl_jax[{extra}]"
        ) from error
    for name in ("s3fs", "gcsfs", "fsspec", "aiobotocore", "botocore"):  # what they would print, our messages say
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with _explained(scheme):
        return fsspec.filesystem(scheme, **options, **_patience(scheme))


def _patience(scheme: str) -> dict[str, Any]:
    """What bounds an answer, so that a network that swallows packets is noticed; the clients ask again, some times."""
    if scheme == "gs":
        aiohttp = importlib.import_module("aiohttp")
        return {"requests_timeout": aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=REQUEST_SECONDS)}
    return {"config_kwargs": {"connect_timeout": CONNECT_SECONDS, "read_timeout": REQUEST_SECONDS}}


@contextmanager
def _explained(scheme: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # credentials that cannot be read, a region that does not exist
        raise UserError(f"{scheme}:// cannot be used: {_first_line(error)}; are its credentials in place?") from error


@contextmanager
def _answers() -> Iterator[None]:
    """Every failure that is not about a name, as StoreAway: the clients have no common class of errors."""
    try:
        yield
    except (FileNotFoundError, FileExistsError, StoreAway):
        raise
    except Exception as error:
        raise StoreAway(_first_line(error)) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
