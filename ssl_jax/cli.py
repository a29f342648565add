"""`ssl-jax <command>`: parse, call, print. What a command does is imported when it runs, so that `--help` is quick."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from ssl_jax import __version__
from ssl_jax.errors import UserError

VERIFY_DEVICES = 8  # CPU devices pretended by `verify` where the machine has a single device
DONE, FAILED, FIXABLE, DOES_NOT_FIT, INTERRUPTED = 0, 1, 2, 3, 130  # docs/reliability.md lists what each means


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0: done, or saved after a signal; 2: the user can fix it (one message on stderr); 3: `plan`
    says that it does not fit; 130: Ctrl-C before or after training; 1: else, a failed check of `verify` among it.
    """
    try:
        arguments = _arguments(list(sys.argv[1:] if argv is None else argv))
        return arguments.run(arguments) or DONE
    except UserError as error:
        print(f"ssl-jax: {error}", file=sys.stderr)
        return FIXABLE
    except KeyboardInterrupt:
        print(
            "\nssl-jax: interrupted; the same `ssl-jax train` command resumes from the last checkpoint", file=sys.stderr
        )
        return INTERRUPTED
    except SystemExit as stop:  # argparse after --help and --version
        return stop.code if isinstance(stop.code, int) else FAILED
    except Exception:
        traceback.print_exc()
        return FAILED


# --- commands


def train(arguments: argparse.Namespace) -> None:
    """Pretrain, or resume: `ssl_jax.train.run(recipe, workdir)` inside an open run directory."""
    notes: list[str] = []
    config, recipe = _recipe(arguments, notes.append)
    from ssl_jax import distributed
    from ssl_jax.compiler import keep_compiled_programs
    from ssl_jax.log import logger
    from ssl_jax.train import run

    distributed.start(arguments.coordinator, arguments.processes, arguments.process_id)
    with distributed.open_together(arguments.workdir, config, arguments.allow_config_change) as workdir:
        keep_compiled_programs()
        for note in notes:  # here, so that they are in train.log
            logger.info(note)
        run(recipe, workdir, allow_data_change=arguments.allow_data_change)
    print(f"{arguments.workdir}\nNext: ssl-jax eval --workdir {_quoted(arguments.workdir)}")


def evaluate(arguments: argparse.Namespace) -> None:
    """Probe the frozen features of a run and print the table."""
    workdir, allow = _existing(arguments.workdir), _allowed(arguments.allow)
    from ssl_jax.evaluate.run import evaluate_run

    probes = tuple(p.strip() for p in arguments.probes.split(",") if p.strip()) if arguments.probes else None
    options = {} if arguments.encoder is None else {"encoder": arguments.encoder}
    print(evaluate_run(workdir, probes, arguments.step, allow, **options))
    print(f"{workdir / 'eval'}")


def preview(arguments: argparse.Namespace) -> None:
    """A picture of what the model will be given."""
    _, recipe = _recipe(arguments)
    from ssl_jax.report.preview import preview as draw

    print(draw(recipe, Path(arguments.out)))


def report(arguments: argparse.Namespace) -> None:
    """The run as one HTML page."""
    workdir, allow = _existing(arguments.workdir), _allowed(arguments.allow)
    from ssl_jax.report.page import report as write

    print(write(workdir, allow))


def verify(arguments: argparse.Namespace) -> int:
    """Check on the user's recipe what the tests check on ours; 1 if a check fails."""
    config, recipe = _recipe(arguments)
    import jax

    if jax.device_count() == 1 and arguments.cpu_devices is None:
        return _again_on_cpu_devices(arguments, VERIFY_DEVICES)
    from ssl_jax.verify.run import chosen, write
    from ssl_jax.verify.run import verify as run

    checks = chosen(arguments.checks)
    tell = partial(print, flush=True)  # a line as soon as it is known
    report = run(config, recipe.objective.allow, arguments.batch_size, checks, tell)
    if arguments.out:
        write(report, config, Path(arguments.out))
    failed = [name for name, made in report.outcomes.items() if made.status == "FAIL"]
    print(f"FAILED: {', '.join(failed)}" if failed else "passed")
    return FAILED if failed else DONE


def plan(arguments: argparse.Namespace) -> int:
    """What the run would need and cost; 3 if it does not fit."""
    from ssl_jax.plan.chips import parse_target

    target = parse_target(arguments.topology, arguments.devices, arguments.chip, arguments.slices)
    os.environ["JAX_PLATFORMS"] = "cpu"  # planning must not take hold of an accelerator
    config, recipe = _recipe(arguments)
    from ssl_jax.plan.report import as_text
    from ssl_jax.plan.run import make_plan, write

    made = make_plan(config, recipe.objective.allow, target, compiling=not arguments.no_compile, price=arguments.price)
    if arguments.out:
        write(made, Path(arguments.out))
    print(as_text(made))
    if made.fits is None:
        return FAILED
    return DONE if made.fits else DOES_NOT_FIT


def replay(arguments: argparse.Namespace) -> int:
    """Compute the step of a crash bundle again; 1 if it does not end the same way."""
    allow = _allowed(arguments.allow)
    if arguments.cpu_devices is not None:
        _pretend_cpu_devices(arguments.cpu_devices)
    from ssl_jax.replay import replay as again

    report, reproduced = again(Path(arguments.bundle), allow)
    print(report)
    return DONE if reproduced else FAILED


def recipes(arguments: argparse.Namespace) -> None:
    """What ships with the package, and what it reached."""
    from ssl_jax.recipe import recipes as shipped

    for recipe in shipped():
        print(f"{recipe.name}\n    {recipe.summary}")
        print(f"    reached: {recipe.result}" if recipe.result else "    reached: not measured yet")


# --- arguments


class _Parser(argparse.ArgumentParser):
    """argparse whose complaints are UserErrors, so that there is one way to fail."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}\nSee {self.prog} --help")


def _parser() -> _Parser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="ssl-jax",
        description="Self-supervised pretraining in JAX, evaluated honestly.",
        epilog="A first run:\n"
        "  ssl-jax recipes\n"
        "  ssl-jax train --config NAME:tiny --workdir runs/first\n"
        "  ssl-jax eval --workdir runs/first\n"
        "  ssl-jax report --workdir runs/first\n"
        "How fast is this machine? In a clone: tools/benchmark --help",
        formatter_class=raw,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ssl-jax {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")

    def command(name: str, run: Callable[[argparse.Namespace], int | None], about: str, example: str) -> _Parser:
        added = commands.add_parser(
            name,
            help=about,
            description=about[0].upper() + about[1:] + ".",
            epilog=f"Example:\n  {example}",
            formatter_class=raw,
            allow_abbrev=False,
        )
        added.set_defaults(run=run)
        return added

    sub = command(
        "train",
        train,
        "pretrain without labels; starting again with the same directory resumes",
        "ssl-jax train --config mae_vit_fashion:tiny --workdir runs/x --config.optimizer.lr=1e-3",
    )
    _add_config(sub)
    _add_workdir(sub, "the run directory; created, or resumed")
    sub.add_argument(
        "--allow-config-change",
        action="append",
        default=[],
        metavar="KEY",
        help="resume although this key (optimizer.lr, or a section) differs from the run's config.json; repeatable",
    )
    sub.add_argument(
        "--allow-data-change",
        action="store_true",
        help="resume although the data is not what the checkpoint was trained with; the order of examples changes",
    )
    several = sub.add_argument_group(
        "several processes (found by themselves under SLURM, Open MPI, GKE and on TPU VMs)"
    )
    several.add_argument(
        "--coordinator", metavar="HOST:PORT", help="of process 0; default: 127.0.0.1:47473, this machine"
    )
    several.add_argument("--processes", type=int, metavar="N", help="how many make up this run")
    several.add_argument("--process-id", type=int, metavar="I", help="which one this is, 0 to N-1")
    sub = command(
        "eval",
        evaluate,
        "probe the frozen features of a run, beside raw pixels, a random and a supervised encoder",
        "ssl-jax eval --workdir runs/x --probes linear,knn",
    )
    _add_workdir(sub, "a run directory written by ssl-jax train")
    sub.add_argument("--probes", metavar="A,B", help="linear, knn, fewshot; default: the recipe's")
    sub.add_argument("--step", type=int, metavar="N", help="which checkpoint; default: the newest")
    sub.add_argument("--encoder", metavar="NAME", help="which encoder, e.g. student or teacher; default: the recipe's")
    _add_allow(sub)
    sub = command(
        "preview",
        preview,
        "draw the exact augmented views and masks that the model will be given",
        "ssl-jax preview --config mae_vit_fashion:tiny --out preview.png",
    )
    _add_config(sub)
    sub.add_argument("--out", default="preview.png", metavar="FILE", help="the PNG to write (default: preview.png)")
    sub = command(
        "report",
        report,
        "write one offline HTML page: recipe, curves, health, probes with baselines, pictures",
        "ssl-jax report --workdir runs/x",
    )
    _add_workdir(sub, "a run directory written by ssl-jax train")
    _add_allow(sub)
    sub = command(
        "verify",
        verify,
        "prove on your recipe that devices, sharding, accumulation, resume and resharding change nothing",
        "ssl-jax verify --config mae_vit_fashion:tiny --out verify.json",
    )
    _add_config(sub)
    sub.add_argument("--checks", metavar="A,B", help="only these (default: all)")
    sub.add_argument("--batch-size", type=int, metavar="N", help="examples in a batch (default: 4 on each device)")
    sub.add_argument("--out", metavar="FILE", help="also write the result as JSON")
    sub = command(
        "plan",
        plan,
        "say before a run what it needs and costs on chips that are not here: memory, FLOPs, wire, time, money",
        "ssl-jax plan --config mae_vitl_in1k --topology v5e:16x16",
    )
    _add_config(sub)
    sub.add_argument("--topology", metavar="KIND:SHAPE", help="a TPU slice: v5e:16x16, v5p:8x8x8, v6e:16x16, v4:4x4x4")
    sub.add_argument("--slices", type=int, default=1, metavar="N", help="how many such slices (default: 1)")
    sub.add_argument("--devices", type=int, metavar="N", help="GPUs instead of a slice")
    sub.add_argument("--chip", metavar="NAME", help="a100, h100 (default) or h200")
    sub.add_argument("--price", type=float, metavar="DOLLARS", help="of a chip-hour; default: a list price, assumed")
    sub.add_argument("--no-compile", action="store_true", help="estimate only: seconds instead of minutes")
    sub.add_argument("--out", metavar="FILE", help="also write the plan as JSON")
    sub = command(
        "replay",
        replay,
        "compute the step of a crash bundle again, and name what is not finite",
        "ssl-jax replay runs/x/crash/step_120",
    )
    sub.add_argument("bundle", metavar="BUNDLE", help="a directory <workdir>/crash/step_K")
    _add_cpu_devices(sub)
    _add_allow(sub)
    command("recipes", recipes, "list the recipes that ship with the package and what each reached", "ssl-jax recipes")
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
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
    parser.add_argument("--workdir", metavar="DIR", help=about)


def _add_allow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="MODULE|FILE.py",
        help="let the recipe run code from this module besides ssl_jax; repeatable",
    )


def _arguments(argv: list[str]) -> argparse.Namespace:
    words, overrides = _split_overrides(argv)
    parser = _parser()
    arguments, unknown = parser.parse_known_args(words)
    if arguments.command is None:
        raise UserError(f"name a command\n\n{parser.format_help().rstrip()}")
    if unknown:
        raise UserError(f"{arguments.command} has no option {unknown[0]!r}{_suggestion(unknown[0], arguments)}")
    if getattr(arguments, "workdir", "") is None:
        raise UserError(f"{arguments.command} needs --workdir DIR. See ssl-jax {arguments.command} --help")
    if overrides and "config" not in arguments:
        raise UserError(f"{arguments.command} takes no {overrides[0]!r}: it uses the config.json of the run as it is")
    arguments.overrides, arguments.words = overrides, argv
    return arguments


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
    from ssl_jax.recipe.values import did_you_mean

    known = ["--" + k.replace("_", "-") for k in vars(arguments) if k not in ("run", "command", "_override")]
    return did_you_mean(word.partition("=")[0], known) + f" See ssl-jax {arguments.command} --help"


# --- what several commands need


def _recipe(arguments: argparse.Namespace, say: Callable[[str], None] = print) -> tuple:
    """The ConfigDict and Recipe of --config, with overrides, and the code that the user allowed.

    `say` is told what followed an overridden batch size.
    """
    from ssl_jax.recipe import load, neighbours, parse
    from ssl_jax.recipe.files import listing

    if arguments.config is None:
        raise UserError(
            f"{arguments.command} needs --config RECIPE. {listing()}\n"
            "To resume a run with its own recipe: --config its/directory/config.json"
        )
    if arguments.cpu_devices is not None:
        _pretend_cpu_devices(arguments.cpu_devices)
    allow = _allowed(arguments.allow)
    config = load(arguments.config, arguments.overrides, say)
    recipe = parse(config, allow=(*neighbours(arguments.config), *allow))
    recipe.check()
    return config, recipe


def _allowed(names: Sequence[str]) -> tuple[str, ...]:
    """Module names of --allow, with the folders where they lie on the import path."""
    from ssl_jax.recipe import add_to_path

    modules = []
    for name in names:
        file = Path(name)
        if name.endswith(".py"):
            if not file.is_file():
                raise UserError(f"--allow {name}: no such file; name a .py file, or a module")
            add_to_path(file.parent)
            modules.append(file.stem)
        elif all(part.isidentifier() for part in name.split(".")):
            add_to_path(Path.cwd())
            modules.append(name)
        else:
            raise UserError(f"--allow {name}: write a module name (my_package.my_idea) or a path to a .py file")
    return tuple(modules)


def _existing(workdir: str) -> Path:
    from ssl_jax.workdir import existing

    return existing(workdir)


def _pretend_cpu_devices(count: int) -> None:
    if count < 1:
        raise UserError(f"--cpu-devices {count}: must be 1 or more")
    os.environ["JAX_PLATFORMS"] = "cpu"
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={count}".strip()


def _again_on_cpu_devices(arguments: argparse.Namespace, count: int) -> int:
    """The same command in a child process that pretends to have `count` CPU devices; its exit code."""
    import subprocess

    command = [sys.executable, "-m", "ssl_jax", *arguments.words, "--cpu-devices", str(count)]
    return subprocess.run(command, check=False).returncode


def _quoted(path: str) -> str:
    import shlex

    return shlex.quote(path)
