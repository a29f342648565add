"""Sources that a command is given as a word, and how far it is through them."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ssl_jax.errors import UserError

SIZE = 224  # side of the square that a picture becomes where nobody says one


def add_source(parser: argparse.ArgumentParser) -> None:
    """What records are read from."""
    parser.add_argument(
        "source",
        metavar="SRC",
        help="folder:/photos, tar:/shards/{0000..0123}.tar, parquet:/hf/*.parquet, arrayrecord:, tfds:, list:, ... or a path",
    )


def source_of(word: str, size: int = SIZE) -> Any:
    """The source that a word names, with what it decided about the data told."""
    from ssl_jax.recipe.sources import opened
    from ssl_jax.rundir import terminal

    source = opened(word, "SRC", terminal.complain, size=size)
    for note in getattr(source, "notes", ()):
        terminal.complain(note)
    return source


def positive(word: str) -> int:
    """A whole number of the command line, from 1 on."""
    if not word.isdecimal() or not int(word):
        raise UserError(f"{word!r} is no whole number from 1 on")
    return int(word)


@contextmanager
def progress(total: int, about: str, unit: str = " records") -> Iterator[Callable[[int], object]]:
    """A bar on stderr, where that is a terminal, and a function that moves it by so many records (or bytes), from any thread."""
    from tqdm import tqdm

    lock = threading.Lock()
    bytes_ = unit == "B"
    with tqdm(total=total, desc=about, unit=unit, unit_scale=bytes_, disable=None, dynamic_ncols=True) as bar:

        def advance(records: int) -> None:
            with lock:
                bar.update(records)

        yield advance
