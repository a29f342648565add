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
    sys.stdout, sys.stderr = (stream or _nowhere() for stream in (sys.stdout, sys.stderr))
    codecs.register_error(PLAIN, _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=PLAIN)


def tell(text: str) -> None:
    """Print what a command has done. That nobody can read it does not undo it, and does not change its exit code."""
    try:
        print(text, flush=True)
    except OSError as error:
        _leave_stdout()
        if error.errno != errno.EPIPE:
            complain(f"ssl-jax: what was done stands, but cannot be printed here: {error.strerror}")


def tell_rest() -> None:
    """Write what libraries printed and nobody flushed; as `tell`."""
    try:
        sys.stdout.flush()
    except OSError:
        _leave_stdout()


def show(text: str) -> None:
    """Print what a command is for. UserError where it cannot be written, exit code 1 without a word where the reader has left."""
    try:
        print(text, flush=True)
    except OSError as error:
        _leave_stdout()
        if error.errno == errno.EPIPE:
            raise SystemExit(UNREAD) from error
        raise UserError(f"nothing can be printed here: {error.strerror}") from error


def complain(text: str) -> None:
    """Print on stderr, if there is anyone."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _leave_stdout() -> None:
    """Let stdout lead nowhere, so that no later flush complains."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """How a character is written that the terminal has not: a sign in other letters, a byte of a file's name as it is."""
    failed = cast(UnicodeEncodeError, error)
    sign = failed.object[failed.start]
    byte = ord(sign) - 0xDC00
    return bytes([byte]) if 0x80 <= byte <= 0xFF else SIGNS.get(sign, "?"), failed.start + 1
