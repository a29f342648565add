"""Options that several commands take, and what they read from the command line."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ssl_jax.errors import UserError

LONGEST_NAME, LONGEST_PATH = 255, 4096 - 256  # bytes; the rest is for what is written below it


def path_of(word: str) -> str:
    """A path of the command line, with `~` for a home. UserError for one that no file can have."""
    if not word.strip():
        raise UserError("a path is empty, perhaps since a variable of the shell is not set; name a file or a folder")
    try:
        data = word.encode()
    except UnicodeEncodeError:
        raise UserError(f"{word!a} is not UTF-8, which checkpoints need; give it another name") from None
    longest, whole = max(map(len, data.split(b"/"))), len(os.path.abspath(data))
    if longest > LONGEST_NAME or max(whole, len(data)) > LONGEST_PATH:
        raise UserError(
            f"{word[:60]}... is too long: {longest} bytes in one name (at most {LONGEST_NAME}), {max(whole, len(data))} in all "
            f"(at most {LONGEST_PATH})"
        )
    return _at_home(word) if word.startswith("~") else word


def _at_home(word: str) -> str:
    try:
        return str(Path(word).expanduser())
    except RuntimeError as error:
        raise UserError(f"{word}: no home directory is known for it ({error}); write the whole path") from error


def add_config(parser: argparse.ArgumentParser) -> None:
    """The data and the recipe, and what changes it or lets it run."""
    parser.add_argument(
        "--data",
        metavar="SRC",
        help="learn from this: a folder of pictures, tar:/shards/*.tar, parquet:/hf/*.parquet, ... (docs/data.md); "
        "without --config the recipe is chosen for it and this machine",
    )
    parser.add_argument(
        "--config",
        type=path_of,
        metavar="RECIPE[:ARG]",
        help="a shipped recipe's name, your own .py file, or a run's config.json; :tiny runs in seconds",
    )
    # Taken out of the command line before argparse sees it; here so that --help shows it.
    parser.add_argument(
        "--config.KEY.SUB", dest="_override", metavar="VALUE", help="set one key of the recipe; repeatable"
    )
    add_cpu_devices(parser)
    add_allow(parser)


def add_cpu_devices(parser: argparse.ArgumentParser) -> None:
    """How many CPU devices to pretend."""
    parser.add_argument(
        "--cpu-devices", type=int, metavar="N", help="pretend to have N CPU devices, to try a mesh without the hardware"
    )


def add_workdir(parser: argparse.ArgumentParser, about: str) -> None:
    """The run directory."""
    # Required, but checked after unknown options: who types --wrkdir should read about that.
    parser.add_argument("--workdir", type=path_of, metavar="DIR", help=about)


def add_out_folder(parser: argparse.ArgumentParser) -> None:
    """Where to write instead of into the run directory."""
    parser.add_argument("--out", type=path_of, metavar="FOLDER", help="write there instead of into the run directory")


def add_allow(parser: argparse.ArgumentParser) -> None:
    """Code from elsewhere that may run."""
    parser.add_argument(
        "--allow",
        type=path_of,
        action="append",
        default=[],
        metavar="MODULE|FILE.py|FOLDER",
        help="let the recipe run code from this module, or those in this folder, besides ssl_jax; repeatable",
    )
