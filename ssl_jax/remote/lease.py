"""One run at a time in a store, where no kernel holds a lock: a lease that its holder renews.

The lease is an object `LOCK/<number>`, made by conditional create. To take over, one makes the next number: of several that
try, the store lets one succeed, and the former holder sees at its next renewal that it lost the lease. Numbers only grow,
so a number also says whether anyone was here since.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.remote.moving import Pulse
from ssl_jax.remote.store import Store, StoreAway
from ssl_jax.rundir.log import logger

LEASE_SECONDS = 60  # a holder that has been silent for so long is taken for dead
RENEWALS = 4  # in that time


class Lease:
    """A lease that is held, renewed by a thread until `release`. `on_loss` is called once if another run took it over."""

    def __init__(self, store: Store, number: int, seconds: float) -> None:
        # A renewal that hangs is given up early enough for another one, and what is uploaded says nothing of it.
        self.store = replace(store, still=seconds / 2, moved=Pulse())
        self.number, self.lost = number, False
        self.on_loss: Callable[[], None] = lambda: None
        self._seconds, self._beats, self._end = seconds, 0, threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Let the next one in at once. If the store is away, the lease runs out by itself."""
        self._end.set()
        self.on_loss = lambda: None  # from here on, others may have it
        self._thread.join(self._seconds)
        with suppress(StoreAway, FileNotFoundError):
            if not self.check():
                self.store.write({name(self.number): record(released=True)})

    def check(self) -> bool:
        """Whether another run took over. The store is asked."""
        if not self.lost and newest(self.store) > self.number:
            self.lost = True
            self.on_loss()
        return self.lost

    def _renew(self) -> None:
        while not self._end.wait(self._seconds / RENEWALS):
            with suppress(StoreAway, FileNotFoundError):
                if self.check():
                    return
                self._beats += 1
                self.store.write({name(self.number): record(beats=self._beats)})


def acquire(store: Store, pause: Callable[[float], None] = time.sleep) -> tuple[Lease, int]:
    """The lease of `store`, and the number of the one before it (0: none). UserError while another run holds it.

    A holder whose process ended on this machine, or that released it, or that has been silent for `LEASE_SECONDS`, holds it
    no more. One that may be alive is watched until it renews, or that time is over.
    """
    seconds = float(os.environ.get("SSL_JAX_LEASE_SECONDS", LEASE_SECONDS))
    while True:
        last = newest(store)
        if last and (owner := _holder(store, last, seconds, pause)):
            raise UserError(
                f"{store.address} is in use by another run (process {owner.get('pid', '?')} on {owner.get('host', '?')}, since "
                f"{owner.get('started', '?')}); wait for it, end it, or use another --workdir"
            )
        if store.create(name(last + 1), record()):
            store.remove([n for n in store.sizes("LOCK") if 0 < _number(n) <= last])
            return Lease(store, last + 1, seconds), last


def newest(store: Store) -> int:
    """The number of the last lease that was given, 0 if none was."""
    return max((_number(n) for n in store.sizes("LOCK")), default=0)


def name(number: int) -> str:
    """The object of a lease."""
    return f"LOCK/{number:08d}"


def record(beats: int = 0, released: bool = False) -> bytes:
    """Who holds a lease: people and other processes read it."""
    who = {"pid": os.getpid(), "host": socket.gethostname(), "machine": _machine(), "started": STARTED}
    return json.dumps(who | {"beats": beats, "released": released}, indent=1).encode()


STARTED = time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _holder(store: Store, number: int, seconds: float, pause: Callable[[float], None]) -> Mapping[str, Any]:
    """Who holds lease `number`; nothing if nobody does any more."""
    first = _read(store, number)
    if first.get("released") or not first:
        return {}
    if first.get("machine") == _machine():
        return first if _alive(first.get("pid")) else {}
    silent = _silence(store, number)
    if silent < seconds:
        logger.warning(
            "%s was in use by process %s on %s %.0f s ago; waiting up to %.0f s to see whether it is alive",
            store.address, first.get("pid"), first.get("host"), silent, seconds - silent,
        )  # fmt: skip
    end = time.monotonic() + seconds - silent
    while time.monotonic() < end:
        pause(min(seconds / RENEWALS / 3, 5))
        if (found := _read(store, number)) != first:
            return {} if found.get("released") else found
    return {}


def _silence(store: Store, number: int) -> float:
    """Seconds since a lease was renewed, all by the store's clock."""
    probe = f"LOCK/probe-{uuid.uuid4().hex}"
    store.write({probe: b""})
    now = store.written(probe)
    store.remove([probe])
    return now - store.written(name(number))


def _read(store: Store, number: int) -> dict[str, Any]:
    try:
        found = json.loads(store.read(name(number)))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(name: str) -> int:
    last = name.rpartition("/")[2]
    return int(last) if last.isdecimal() else 0


def _machine() -> str:
    """Where a process number means something: this boot of this machine, and the container in it."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    return socket.gethostname()


def _alive(pid: object) -> bool:
    if not isinstance(pid, int) or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
