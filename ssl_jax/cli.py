"""`ssl-jax <command>`: parse, call, print. What a command does is imported when it runs, so that `--help` is quick."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ssl_jax.arguments import parse_arguments
from ssl_jax.devices.allocator import keep_freed_memory
from ssl_jax.devices.compiler import leave_out_absent_tpu
from ssl_jax.errors import UserError
from ssl_jax.rundir import terminal

VERIFY_DEVICES = 8  # CPU devices pretended by `verify` where the machine has a single device
DONE, FAILED, FIXABLE, DOES_NOT_FIT, INTERRUPTED = 0, 1, 2, 3, 130  # docs/reliability.md lists what each means


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0: done, or saved after a signal; 2: the user can fix it (one message on stderr); 3: `plan`
    says that it does not fit; 130: Ctrl-C before or after training; 1: else, a failed check of `verify` among it.
    """
    terminal.prepare()
    code = _run(list(sys.argv[1:] if argv is None else argv))
    terminal.finish()
    return code


def _run(argv: list[str]) -> int:
    try:
        arguments = parse_arguments(argv)
        _check_addresses(arguments)
        leave_out_absent_tpu()  # before jax looks for devices
        keep_freed_memory()  # before jax makes its threads
        return COMMANDS[arguments.command](arguments) or DONE
    except UserError as error:
        terminal.complain(f"ssl-jax: {error}")
        return FIXABLE
    except KeyboardInterrupt:
        terminal.complain("\nssl-jax: interrupted; the same `ssl-jax train` command resumes from the last checkpoint")
        return INTERRUPTED
    except SystemExit as stop:  # argparse after --help and --version
        return stop.code if isinstance(stop.code, int) else FAILED
    except Exception:
        terminal.complain(traceback.format_exc().rstrip())
        return FAILED


# --- commands


def train(arguments: Namespace) -> None:
    """Pretrain, or resume: `ssl_jax.training.run.run(recipe, workdir)` inside an open run directory."""
    notes: list[str] = []
    config, recipe = _recipe(arguments, notes.append)
    from ssl_jax.devices import distributed
    from ssl_jax.devices.compiler import keep_compiled_programs
    from ssl_jax.remote.opening import run_directory
    from ssl_jax.rundir.log import logger
    from ssl_jax.training.run import run

    distributed.start(arguments.coordinator, arguments.processes, arguments.process_id)
    with (
        run_directory(arguments.workdir) as folder,
        distributed.open_together(folder, config, arguments.allow_config_change) as workdir,
    ):
        keep_compiled_programs()
        for note in notes:  # here, so that they are in train.log
            logger.info(note)
        run(recipe, workdir, allow_data_change=arguments.allow_data_change)
    from ssl_jax.recipe.files import flags_to_allow

    flags = flags_to_allow(recipe.objective.needed, arguments.config, arguments.allow)
    words = ["--workdir", arguments.workdir, *(word for flag in flags for word in ("--allow", flag))]
    terminal.tell(f"{arguments.workdir}\nNext: ssl-jax eval {shlex.join(words)}")


def evaluate(arguments: Namespace) -> None:
    """Probe the frozen features of a run and print the table."""
    allow = _allowed(arguments.allow)
    with _existing(arguments.workdir, arguments.step) as workdir:
        from ssl_jax.devices.compiler import keep_compiled_programs
        from ssl_jax.evaluate.run import evaluate_run

        keep_compiled_programs()
        probes = tuple(p.strip() for p in arguments.probes.split(",") if p.strip()) if arguments.probes else None
        options: dict[str, Any] = {} if arguments.encoder is None else {"encoder": ",".join(arguments.encoder)}
        options |= {"overrides": arguments.overrides} if arguments.overrides else {}
        options |= {"out": Path(arguments.out)} if arguments.out else {}
        terminal.tell(evaluate_run(workdir, probes, arguments.step, allow, **options))
    terminal.tell(os.path.join(arguments.out or arguments.workdir.rstrip("/"), "eval"))


def preview(arguments: Namespace) -> None:
    """A picture of what the model will be given."""
    _, recipe = _recipe(arguments)
    from ssl_jax.report.preview import preview as draw

    terminal.tell(str(draw(recipe, Path(arguments.out))))


def report(arguments: Namespace) -> None:
    """The run as one HTML page."""
    allow = _allowed(arguments.allow)
    with _existing(arguments.workdir) as workdir:
        from ssl_jax.devices.compiler import keep_compiled_programs
        from ssl_jax.report.page import report as write

        keep_compiled_programs()
        write(workdir, allow, **({"out": Path(arguments.out)} if arguments.out else {}))
    terminal.tell(os.path.join(arguments.out or arguments.workdir.rstrip("/"), "report.html"))


def verify(arguments: Namespace) -> int:
    """Check on the user's recipe what the tests check on ours; 1 if a check fails."""
    config, recipe = _recipe(arguments)
    import jax

    if jax.device_count() == 1 and arguments.cpu_devices is None:
        return _again_on_cpu_devices(arguments, VERIFY_DEVICES)
    from ssl_jax.verify.run import chosen, write
    from ssl_jax.verify.run import verify as run

    checks = chosen(arguments.checks)
    report = run(config, recipe.objective.allow, arguments.batch_size, checks, terminal.tell)
    failed = [name for name, made in report.outcomes.items() if made.status == "FAIL"]
    terminal.tell(f"FAILED: {', '.join(failed)}" if failed else "passed")
    if arguments.out:
        _write(partial(write, report, config), arguments.out)
    return FAILED if failed else DONE


def plan(arguments: Namespace) -> int:
    """What the run would need and cost; 3 if it does not fit."""
    from ssl_jax.plan.chips import parse_target

    target = parse_target(arguments.topology, arguments.devices, arguments.chip, arguments.slices)
    os.environ["JAX_PLATFORMS"] = "cpu"  # planning must not take hold of an accelerator
    config, recipe = _recipe(arguments)
    from ssl_jax.plan.report import as_text
    from ssl_jax.plan.run import make_plan, write

    made = make_plan(config, recipe.objective.allow, target, compiling=not arguments.no_compile, price=arguments.price)
    terminal.tell(as_text(made))
    if arguments.out:
        _write(partial(write, made), arguments.out)
    if made.fits is None:
        return FAILED
    return DONE if made.fits else DOES_NOT_FIT


def replay(arguments: Namespace) -> int:
    """Compute the step of a crash bundle again; 1 if it does not end the same way."""
    allow = _allowed(arguments.allow)
    if arguments.cpu_devices is not None:
        _pretend_cpu_devices(arguments.cpu_devices)
    from ssl_jax.remote.opening import fetched
    from ssl_jax.training.replay import replay as again

    with fetched(arguments.bundle) as bundle:
        report, reproduced = again(bundle, allow)
    terminal.tell(report)
    return DONE if reproduced else FAILED


def recipes(arguments: Namespace) -> None:
    """What ships with the package, or lies in a folder of the user's own, and what it reached."""
    from ssl_jax.recipe import recipes as shipped
    from ssl_jax.recipe.files import own_recipes

    own = arguments.folder is not None
    found = own_recipes(Path(arguments.folder)) if own else shipped()
    named = [
        f"{recipe.path if own else recipe.name}\n    {recipe.summary}\n    {_reached(recipe.result)}"
        for recipe in found
    ]
    terminal.show("\n".join(named))


def _reached(result: str) -> str:
    return f"reached: {result}" if result else "reached: not measured yet"


COMMANDS: dict[str, Callable[[Namespace], int | None]] = {
    "train": train,
    "eval": evaluate,
    "preview": preview,
    "report": report,
    "verify": verify,
    "plan": plan,
    "replay": replay,
    "recipes": recipes,
}


# --- what several commands need


def _check_addresses(arguments: Namespace) -> None:
    """UserError for an address of a store that is not known, and for one where only a local file can be used."""
    from ssl_jax.remote.store import is_remote, local_only

    for name in ("workdir", "bundle"):
        is_remote(getattr(arguments, name, None) or "")
    for name in ("config", "out"):
        local_only(getattr(arguments, name, None) or "", f"--{name}")


def _recipe(arguments: Namespace, say: Callable[[str], None] = terminal.tell) -> tuple:
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
    from ssl_jax.optim import optimizers

    optimizers.check(recipe.optimizer, recipe.schedule, recipe.objective.allow)
    return config, recipe


def _allowed(names: Sequence[str]) -> tuple[str, ...]:
    """Module names of --allow, with the folders where they lie on the import path."""
    return tuple(dict.fromkeys(module for name in names for module in _modules_named(name)))


def _modules_named(name: str) -> tuple[str, ...]:
    """What one --allow names: a .py file, a folder (a package, or the modules in it), or a module."""
    from ssl_jax.recipe import add_to_path
    from ssl_jax.recipe.files import modules_in

    path, is_module = Path(name), all(part.isidentifier() for part in name.split("."))
    if name.endswith(".py"):
        if not path.is_file():
            raise UserError(f"--allow {name}: no such file; name a .py file, or a module")
        add_to_path(path.parent)
        return (path.stem,)
    if (path / "__init__.py").is_file():
        add_to_path(path.resolve().parent)
        return (path.resolve().name,)
    if path.is_dir() and not is_module:
        add_to_path(path)
        return modules_in(path)
    if is_module:
        add_to_path(Path.cwd())
        return (name,)
    raise UserError(f"--allow {name}: write a module name (my_package.my_idea) or a path to a .py file or a folder")


def _write(write: Callable[[Path], None], out: str) -> None:
    """Write what was printed. UserError where the file cannot be written."""
    try:
        write(Path(out))
    except OSError as error:
        raise UserError(
            f"--out {out} cannot be written: {error.strerror}; name another file. All of it is above"
        ) from error


@contextmanager
def _existing(workdir: str, step: int | None = None) -> Iterator[Path]:
    """The folder of an earlier run, or the one that stands for it here, with the checkpoint of `step`."""
    from ssl_jax.remote.opening import reading
    from ssl_jax.rundir.workdir import existing

    with reading(workdir, step) as folder:
        yield existing(folder)


def _pretend_cpu_devices(count: int) -> None:
    if count < 1:
        raise UserError(f"--cpu-devices {count}: must be 1 or more")
    os.environ["JAX_PLATFORMS"] = "cpu"
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={count}".strip()


def _again_on_cpu_devices(arguments: Namespace, count: int) -> int:
    """The same command in a child process that pretends to have `count` CPU devices; its exit code."""
    import subprocess

    command = [sys.executable, "-m", "ssl_jax", *arguments.words, "--cpu-devices", str(count)]
    return subprocess.run(command, check=False).returncode
