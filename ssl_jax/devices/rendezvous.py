"""The roll call before `jax.distributed`, which ends a process from C++, without a word of ours, when the roll is wrong.

Process 0 listens where the coordinator will be. The others say who they are, one line of JSON each, and get one line back: ""
when all are there, or else what is wrong, which is then said by all of them.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

LINE = 4096  # bytes that one line may have
HELLO_SECONDS = 5  # for a line from somebody who has connected


def answer_the_roll(address: tuple[str, int], hello: dict[str, Any], seconds: float) -> str:
    """As process 0: wait for the others; what is wrong with the roll, or "". OSError if the address cannot be used."""
    roll, lines = [hello], []
    with listening(address) as server:
        end = time.monotonic() + seconds
        while (len(roll) == 1 or not wrong(roll)) and len(roll) < hello["processes"] and time.monotonic() < end:
            if (joined := _accepted(server)) is not None:
                roll.append(joined[1])
                lines.append(joined[0])
        verdict = wrong(roll) or missing(roll, seconds)
        for line in lines:
            _dismiss(line, verdict)
    return verdict


def report_to(address: tuple[str, int], hello: dict[str, Any], seconds: float) -> str:
    """As another process: say who this is, and wait for the verdict. OSError if nobody answers for so long."""
    end = time.monotonic() + seconds
    while True:
        try:
            return _reported(address, hello, seconds)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def wrong(roll: Sequence[dict[str, Any]]) -> str:
    """What cannot be on a roll: another count than process 0's, a number out of range, a number twice. "" if nothing."""
    if failed := [f"{_who(x)}: {x['failed']}" for x in roll if x.get("failed")]:
        return "; ".join(failed)
    first, last = roll[0], roll[-1]
    count = first["processes"]
    if last["processes"] != count:
        return f"{_who(last)} was started as one of {last['processes']} processes, process 0 as one of {count}"
    if not 0 < last["process"] < count and len(roll) > 1:
        return f"{_who(last)} is not one of 1 to {count - 1}"
    same = [_who(x) for x in roll if x["process"] == last["process"]]
    return f"{' and '.join(same)} have the same number" if len(same) > 1 else ""


def missing(roll: Sequence[dict[str, Any]], seconds: float) -> str:
    """Which processes have not come; "" if all are there."""
    absent = sorted({*range(roll[0]["processes"])} - {x["process"] for x in roll})
    named = ", ".join(map(str, absent[:8])) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
    return f"of {roll[0]['processes']} processes these have not come within {seconds:g} s: {named}" if absent else ""


def host_and_port(address: str) -> tuple[str, int]:
    """`HOST:PORT` (an IPv6 address in brackets) as `socket` takes it."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


@contextmanager
def listening(address: tuple[str, int]) -> Iterator[socket.socket]:
    """A socket that listens there; the port is free again at once after it."""
    both = not address[0] and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in address[0] else socket.AF_INET
    with socket.create_server(address, family=family, backlog=1024, dualstack_ipv6=both) as server:
        server.settimeout(0.2)
        yield server


def _accepted(server: socket.socket) -> tuple[socket.socket, dict[str, Any]] | None:
    """Who connected, and what it said; None for nobody, or for somebody who is no process of a run."""
    try:
        line, _ = server.accept()
    except OSError:
        return None
    try:
        said = json.loads(_read_line(line, time.monotonic() + HELLO_SECONDS))
        numbers = {key: int(said[key]) for key in ("process", "processes")}
        return line, numbers | {key: str(said[key]) for key in ("host", "failed")}
    except (OSError, ValueError, LookupError, TypeError):
        line.close()
        return None


def _reported(address: tuple[str, int], hello: dict[str, Any], seconds: float) -> str:
    end = time.monotonic() + seconds + HELLO_SECONDS  # process 0 may have begun to wait only now
    with socket.create_connection(address, timeout=5) as line:
        line.sendall(json.dumps(hello).encode() + b"\n")
        try:
            return json.loads(_read_line(line, end))
        except ValueError as error:
            raise OSError(
                "something answers there that is no process 0 waiting for others; has its run begun?"
            ) from error


def _dismiss(line: socket.socket, verdict: str) -> None:
    """Tell the verdict; the other side hangs up first, so that no port of ours is left waiting."""
    with suppress(OSError), line:
        line.settimeout(1)
        line.sendall(json.dumps(verdict).encode() + b"\n")
        line.recv(1)


def _read_line(line: socket.socket, end: float) -> bytes:
    read = b""
    while not read.endswith(b"\n"):
        line.settimeout(max(0.1, end - time.monotonic()))
        more = line.recv(LINE - len(read))
        if not more:
            raise ConnectionResetError("the connection was closed")
        read += more
    return read


def _who(hello: dict[str, Any]) -> str:
    return f"process {hello['process']} on {hello['host']}"
