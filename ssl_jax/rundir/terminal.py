"""What a command prints, wherever that goes: a closed pipe, a full disk, a terminal of few letters, nowhere."""

from __future__ import annotations

import codecs
import errno
import os
import sys
from contextlib import suppress
from typing import TextIO, cast

from ssl_jax.errors import UserError

SIGNS = {"±": "+-", "→": "->", "↔": "<->", "≤": "<=", "≥": ">=", "·": "-", "…": "...", "✓": "+", "✕": "x"}
PLAIN = "ssl_jax_plain"
UNREAD = 1  # the exit code of a command that only prints, when its reader has left


def prepare() -> None:
    """Before anything is opened: the three streams lead somewhere, and any text can be written to them.

    Otherwise the first file that a run opens would be number 2, and what libraries complain about would be written into it.
    """
    for number in range(3):
        with suppress(OSError):
            os.fstat(number)
            continue
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free
    sys.stdout, sys.stderr = (
        sys.stdout or os.fdopen(1, "w", closefd=False),
        sys.stderr or os.fdopen(2, "w", closefd=False),
    )
    codecs.register_error(PLAIN, _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=PLAIN)


def tell(text: str) -> None:
    """Print what a command has done. That nobody can read it does not undo it, and does not change its exit code."""
    try:
        print(text, flush=True)
    except OSError as error:
        _leave(sys.stdout)
        if error.errno != errno.EPIPE:
            complain(f"ssl-jax: what was done stands, but cannot be printed here: {error.strerror}")


def finish() -> None:
    """Write what waits to be written, so that no complaint about it at the end of the process changes the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _leave(stream)


def show(text: str) -> None:
    """Print what a command is for. UserError where it cannot be written, exit code 1 without a word where the reader has left."""
    try:
        print(text, flush=True)
    except OSError as error:
        _leave(sys.stdout)
        if error.errno == errno.EPIPE:
            raise SystemExit(UNREAD) from error
        raise UserError(f"nothing can be printed here: {error.strerror}") from error


def complain(text: str) -> None:
    """Print on stderr, if there is anyone."""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        _leave(sys.stderr)


def _leave(stream: TextIO) -> None:
    """Let a stream lead nowhere, so that no later flush complains."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """How a character is written that the terminal has not: a sign in other letters, a byte of a file's name as it is."""
    failed = cast(UnicodeEncodeError, error)
    sign = failed.object[failed.start]
    byte = ord(sign) - 0xDC00
    return bytes([byte]) if 0x80 <= byte <= 0xFF else SIGNS.get(sign, "?"), failed.start + 1
