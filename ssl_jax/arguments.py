"""The command line of `ssl-jax`: each command, what it is for and which options it takes. Imports nothing heavy."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ssl_jax import __version__
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


def _train(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    _add_workdir(parser, "the run directory; created, or resumed")
    parser.add_argument(
        "--allow-config-change",
        action="append",
        default=[],
        metavar="KEY",
        help="resume although this key (optimizer.lr, or a section) differs from the run's config.json; repeatable",
    )
    parser.add_argument(
        "--allow-data-change",
        action="store_true",
        help="resume although the data is not what the checkpoint was trained with; the order of examples changes",
    )
    several = parser.add_argument_group(
        "several processes (found by themselves under SLURM, Open MPI, GKE and on TPU VMs)"
    )
    several.add_argument(
        "--coordinator", metavar="HOST:PORT", help="of process 0; default: 127.0.0.1:47473, this machine"
    )
    several.add_argument("--processes", type=int, metavar="N", help="how many make up this run")
    several.add_argument("--process-id", type=int, metavar="I", help="which one this is, 0 to N-1")


def _eval(parser: argparse.ArgumentParser) -> None:
    _add_workdir(parser, "a run directory written by ssl-jax train")
    parser.add_argument("--probes", metavar="A,B", help="linear, knn, fewshot; default: the recipe's")
    parser.add_argument("--step", type=int, metavar="N", help="which checkpoint; default: the newest")
    parser.add_argument(
        "--encoder",
        action="append",
        metavar="A,B",
        help="which encoders, e.g. student, teacher, image, text; repeatable; default: the recipe's",
    )
    _add_out_folder(parser)
    parser.add_argument(
        "--config.evaluate.KEY", dest="_override", metavar="VALUE", help="change how the run is evaluated; repeatable"
    )
    _add_allow(parser)


def _preview(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument(
        "--out", type=path_of, default="preview.png", metavar="FILE", help="the PNG to write (default: preview.png)"
    )


def _report(parser: argparse.ArgumentParser) -> None:
    _add_workdir(parser, "a run directory written by ssl-jax train")
    _add_out_folder(parser)
    _add_allow(parser)


def _verify(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument("--checks", metavar="A,B", help="only these (default: all)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="examples in a batch (default: 4 on each device)")
    parser.add_argument("--out", type=path_of, metavar="FILE", help="also write the result as JSON")


def _plan(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument(
        "--topology", metavar="KIND:SHAPE", help="a TPU slice: v5e:16x16, v5p:8x8x8, v6e:16x16, v4:4x4x4"
    )
    parser.add_argument("--slices", type=int, default=1, metavar="N", help="how many such slices (default: 1)")
    parser.add_argument("--devices", type=int, metavar="N", help="GPUs instead of a slice")
    parser.add_argument("--chip", metavar="NAME", help="a100, h100 (default) or h200")
    parser.add_argument("--price", type=float, metavar="DOLLARS", help="of a chip-hour; default: a list price, assumed")
    parser.add_argument("--no-compile", action="store_true", help="estimate only: seconds instead of minutes")
    parser.add_argument("--out", type=path_of, metavar="FILE", help="also write the plan as JSON")


def _replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=path_of, metavar="BUNDLE", help="a directory <workdir>/crash/step_K")
    _add_cpu_devices(parser)
    _add_allow(parser)


def _recipes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        type=path_of,
        nargs="?",
        metavar="FOLDER",
        help="a folder of your own recipes; default: the shipped ones",
    )


def _add_config(parser: argparse.ArgumentParser) -> None:
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
    _add_cpu_devices(parser)
    _add_allow(parser)


def _add_cpu_devices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cpu-devices", type=int, metavar="N", help="pretend to have N CPU devices, to try a mesh without the hardware"
    )


def _add_workdir(parser: argparse.ArgumentParser, about: str) -> None:
    # Required, but checked after unknown options: who types --wrkdir should read about that.
    parser.add_argument("--workdir", type=path_of, metavar="DIR", help=about)


def _add_out_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=path_of, metavar="FOLDER", help="write there instead of into the run directory")


def _add_allow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow",
        type=path_of,
        action="append",
        default=[],
        metavar="MODULE|FILE.py|FOLDER",
        help="let the recipe run code from this module, or those in this folder, besides ssl_jax; repeatable",
    )


@dataclass(frozen=True)
class Command:
    """What `--help` says about a command, and what adds its options."""

    about: str
    example: str
    add_options: Callable[[argparse.ArgumentParser], None]


COMMANDS = {
    "train": Command(
        "pretrain without labels; starting again with the same directory resumes",
        "ssl-jax train --config mae_vit_fashion:tiny --workdir runs/x --config.optimizer.lr=1e-3",
        _train,
    ),
    "eval": Command(
        "probe the frozen features of a run, beside raw pixels, a random and a supervised encoder",
        "ssl-jax eval --workdir runs/x --probes linear,knn",
        _eval,
    ),
    "preview": Command(
        "draw the exact augmented views and masks that the model will be given",
        "ssl-jax preview --config mae_vit_fashion:tiny --out preview.png",
        _preview,
    ),
    "report": Command(
        "write one offline HTML page: recipe, curves, health, probes with baselines, pictures",
        "ssl-jax report --workdir runs/x",
        _report,
    ),
    "verify": Command(
        "prove on your recipe that devices, sharding, accumulation, resume and resharding change nothing",
        "ssl-jax verify --config mae_vit_fashion:tiny --out verify.json",
        _verify,
    ),
    "plan": Command(
        "say before a run what it needs and costs on chips that are not here: memory, FLOPs, wire, time, money",
        "ssl-jax plan --config mae_vitl_in1k --topology v5e:16x16",
        _plan,
    ),
    "replay": Command(
        "compute the step of a crash bundle again, and name what is not finite",
        "ssl-jax replay runs/x/crash/step_120",
        _replay,
    ),
    "recipes": Command(
        "list the recipes that ship with the package, or lie in a folder of yours, and what each reached",
        "ssl-jax recipes",
        _recipes,
    ),
}


def _parser() -> _Parser:
    raw = argparse.RawDescriptionHelpFormatter
    about = "Self-supervised pretraining in JAX, evaluated honestly."
    parser = _Parser(prog="ssl-jax", description=about, epilog=EPILOG, formatter_class=raw, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"ssl-jax {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")
    for name, command in COMMANDS.items():
        about, example = f"{command.about[0].upper()}{command.about[1:]}.", f"Example:\n  {command.example}"
        added = commands.add_parser(
            name, help=command.about, description=about, epilog=example, formatter_class=raw, allow_abbrev=False
        )
        command.add_options(added)
    return parser


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The words of a command line: `command`, its options, the `overrides` of the recipe, and all `words` as given.

    Raises UserError for what no command knows or a command lacks.
    """
    words, overrides = _split_overrides(argv)
    parser = _parser()
    arguments, unknown = parser.parse_known_args(words)
    if arguments.command is None:
        raise UserError(f"name a command\n\n{parser.format_help().rstrip()}")
    if unknown:
        raise UserError(f"{arguments.command} has no option {unknown[0]!r}{_suggestion(unknown[0], arguments)}")
    if getattr(arguments, "workdir", "") is None:
        raise UserError(f"{arguments.command} needs --workdir DIR. See ssl-jax {arguments.command} --help")
    foreign = [text for text in overrides if not text.startswith(_changeable(arguments))]
    if foreign:
        but = ", but for keys of --config.evaluate" if arguments.command == "eval" else ""
        raise UserError(
            f"{arguments.command} takes no {foreign[0]!r}: it uses the config.json of the run as it is{but}"
        )
    arguments.overrides, arguments.words = overrides, argv
    return arguments


def _changeable(arguments: argparse.Namespace) -> tuple[str, ...]:
    """How overrides begin that a command takes."""
    if "config" in arguments:
        return ("--config.",)
    return ("--config.evaluate.",) if arguments.command == "eval" else ()


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
    known = ["--" + k.replace("_", "-") for k in vars(arguments) if k not in ("command", "_override")]
    near = f"; did you mean {' or '.join(meant)}?" if meant else did_you_mean(name, known)
    return f"{near} See ssl-jax {arguments.command} --help"


def _recipe_keys() -> list[str]:
    """Every key that any recipe may have: `config.optimizer.lr`."""
    from ssl_jax.recipe.parsing import complete
    from ssl_jax.recipe.values import flatten

    totals = dict.fromkeys(("batch_size", "seed", "total_steps", "total_epochs", "total_examples"))
    return [f"config.{key}" for key in flatten(complete({}) | totals)]
