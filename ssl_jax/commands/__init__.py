"""One file for each command of `ssl-jax`, those of a group (`ssl-jax data prepare`) in a folder of its name.

A file has `ABOUT` and `EXAMPLE`, which `--help` shows, `options(parser)` and `run(arguments) -> exit code or None`. One that
changes a run's recipe has `OVERRIDES`, how such keys begin. What a command does is imported when it runs: `--help` is quick.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from importlib import import_module
from typing import Protocol, cast

NAMES = (
    "train",
    "finetune",
    "eval",
    "embed",
    "search",
    "compare",
    "export",
    "audit",
    "preview",
    "report",
    "verify",
    "plan",
    "replay",
    "recipes",
    "inspect",
    "data prepare",
    "data stats",
    "data subset",
    "data mine",
    "data card",
    "data tokenize",
)
# The first words of commands that have two, and what they are about.
GROUPS = {"data": "look at data, prepare it, tokenise it, choose from it"}


class Command(Protocol):
    """The module of a command."""

    ABOUT: str
    EXAMPLE: str

    def options(self, parser: ArgumentParser) -> None:
        """Add its options."""
        ...

    def run(self, arguments: Namespace) -> int | None:
        """Do it."""
        ...


def command(name: str) -> Command:
    """The command of that name: "train", or "data prepare"."""
    return cast(Command, import_module(f"ssl_jax.commands.{name.replace(' ', '.')}"))
