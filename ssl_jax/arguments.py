"""The command line of `ssl-jax`: what was typed -> the command and its options. Imports nothing heavy."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from ssl_jax import __version__
from ssl_jax.commands import GROUPS, NAMES, command
from ssl_jax.errors import UserError

EPILOG = """A first run:
  ssl-jax recipes
  ssl-jax train --config NAME:tiny --workdir runs/first
  ssl-jax eval --workdir runs/first
  ssl-jax report --workdir runs/first"""


class _Parser(argparse.ArgumentParser):
    """argparse whose complaints are UserErrors, so that there is one way to fail."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}\nSee {self.prog} --help")


_RAW: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}


def _parser() -> _Parser:
    about = "Self-supervised pretraining in JAX, evaluated honestly."
    parser = _Parser(prog="ssl-jax", description=about, epilog=EPILOG, **_RAW)
    parser.add_argument("--version", action="version", version=f"ssl-jax {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")
    groups = {name: _group(commands, name, about) for name, about in GROUPS.items()}
    for name in NAMES:
        first, _, second = name.partition(" ")
        _add(groups[first] if second else commands, second or first, name)
    return parser


def _group(commands: Any, name: str, about: str) -> Any:
    """A command that has commands of its own."""
    added = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.", **_RAW)
    return added.add_subparsers(metavar="COMMAND", dest="second")


def _add(commands: Any, word: str, name: str) -> None:
    module = command(name)
    about, example = f"{module.ABOUT[0].upper()}{module.ABOUT[1:]}.", f"Example:\n  {module.EXAMPLE}"
    module.options(commands.add_parser(word, help=module.ABOUT, description=about, epilog=example, **_RAW))


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The words of a command line: `command`, its options, the `overrides` of the recipe, and all `words` as given.

    Raises UserError for what no command knows or a command lacks.
    """
    words, overrides = _split_overrides(argv)
    parser = _parser()
    arguments, unknown = parser.parse_known_args(words)
    if arguments.command is None:
        raise UserError(f"name a command\n\n{parser.format_help().rstrip()}")
    arguments.command = _whole_name(arguments)
    if unknown:
        raise UserError(f"{arguments.command} has no option {unknown[0]!r}{_suggestion(unknown[0], arguments)}")
    if getattr(arguments, "workdir", "") is None and not getattr(arguments, "encoder", None):  # which may name a run
        raise UserError(f"{arguments.command} needs --workdir DIR. See ssl-jax {arguments.command} --help")
    foreign = [text for text in overrides if not text.startswith(_changeable(arguments))]
    if foreign:
        but = "".join(f", but for keys of {start.rstrip('.')}" for start in _changeable(arguments))
        raise UserError(
            f"{arguments.command} takes no {foreign[0]!r}: it uses the config.json of the run as it is{but}"
        )
    arguments.overrides, arguments.words = overrides, argv
    return arguments


def _changeable(arguments: argparse.Namespace) -> tuple[str, ...]:
    """How overrides begin that a command takes."""
    if "config" in arguments:
        return ("--config.",)
    start = getattr(command(arguments.command), "OVERRIDES", None)
    return () if start is None else (start,)


def _whole_name(arguments: argparse.Namespace) -> str:
    """The name of the command, of two words where the first is a group. UserError where the second is missing."""
    first, second = arguments.command, getattr(arguments, "second", None)
    if first in GROUPS and second is None:
        known = ", ".join(name for name in NAMES if name.startswith(f"{first} "))
        raise UserError(f"{first} needs one more word: {known}. See ssl-jax {first} --help")
    return f"{first} {second}" if second else first


def _split_overrides(argv: list[str]) -> tuple[list[str], list[str]]:
    """The command line without `--config.a.b=v` (or `--config.a.b v`), and those, each as one word with `=`."""
    words, overrides, rest = [], [], iter(argv)
    for word in rest:
        if not word.startswith("--config."):
            words.append(word)
        elif "=" in word:
            overrides.append(word)
        else:
            value = next(rest, None)
            if value is None or value.startswith("--"):
                raise UserError(f"{word} has no value; write {word}=VALUE")
            overrides.append(f"{word}={value}")
    return words, overrides


def _suggestion(word: str, arguments: argparse.Namespace) -> str:
    """The end of a message about an unknown option: the key of the recipe that is meant, or the option that is spelt like it."""
    from ssl_jax.recipe.values import called_here, did_you_mean

    name, keys = word.partition("=")[0], _recipe_keys() if "config" in arguments else []
    meant = [f"--{key}=..." for key in called_here(name.lstrip("-").replace("-", "_"), keys)]
    known = ["--" + k.replace("_", "-") for k in vars(arguments) if k not in ("command", "second", "_override")]
    near = f"; did you mean {' or '.join(meant)}?" if meant else did_you_mean(name, known)
    return f"{near} See ssl-jax {arguments.command} --help"


def _recipe_keys() -> list[str]:
    """Every key that any recipe may have: `config.optimizer.lr`."""
    from ssl_jax.recipe.parsing import complete
    from ssl_jax.recipe.values import flatten

    totals = dict.fromkeys(("batch_size", "seed", "total_steps", "total_epochs", "total_examples"))
    return [f"config.{key}" for key in flatten(complete({}) | totals)]
