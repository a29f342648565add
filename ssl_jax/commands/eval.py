"""`ssl-jax eval`."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from ssl_jax.commands.inspect import add_download
from ssl_jax.commands.shared.folders import existing_run
from ssl_jax.commands.shared.options import add_allow, add_out_folder, add_workdir, path_of
from ssl_jax.commands.shared.recipe import allowed
from ssl_jax.errors import UserError
from ssl_jax.rundir import terminal

ABOUT = "probe the frozen features of a run, beside raw pixels, a random and a supervised encoder"
EXAMPLE = "ssl-jax eval --workdir runs/x --probes linear,knn"
OVERRIDES = "--config.evaluate."  # what of the run's recipe may be changed


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    add_workdir(parser, "a run directory written by ssl-jax train")
    parser.add_argument(
        "--probes", metavar="A,B", help="linear, knn, fewshot, ... (docs/probes.md); default: the recipe's"
    )
    parser.add_argument(
        "--protocol",
        metavar="NAME",
        help="probes and options of a paper, by name, e.g. fast, knn20, dinov2-linear, mae-linear",
    )
    parser.add_argument("--step", type=int, metavar="N", help="which checkpoint; default: the newest")
    parser.add_argument(
        "--encoder",
        action="append",
        metavar="A,B",
        help="which encoders, e.g. student, teacher, image, text; repeatable; default: the recipe's. Or a run directory, with "
        "or without one of its encoders: runs/x, runs/x:teacher. Or public weights, with --data and --out: /models/dinov2-small",
    )
    add_download(parser)
    clean = "an audit: measure also without the test records that it found in the pretraining data"
    parser.add_argument("--clean", type=path_of, metavar="AUDIT.json", help=clean)
    parser.add_argument(
        "--data",
        metavar="SRC",
        help="probe and test on this instead of the recipe's data: folder:/photos, a path that is there",
    )
    parser.add_argument(
        "--follow", action="store_true", help="evaluate a run's checkpoints as they appear, until it ends"
    )
    parser.add_argument("--no-cache", action="store_true", help="neither use nor keep features in eval/features")
    parser.add_argument("--clear-cache", action="store_true", help="remove the features that were kept, first")
    add_out_folder(parser)
    parser.add_argument(
        "--config.evaluate.KEY", dest="_override", metavar="VALUE", help="change how the run is evaluated; repeatable"
    )
    add_allow(parser)


def run(arguments: Namespace) -> None:
    """Probe the frozen features of a run and print the table."""
    if arguments.protocol and arguments.probes:
        raise UserError("--protocol and --probes both name probes; give one of them")
    weights = _weights_named(arguments)
    if weights is None:
        _evaluate_run(arguments)
    else:
        _evaluate_weights(weights, arguments)


def _evaluate_run(arguments: Namespace) -> None:
    from ssl_jax.evaluate.spec import run_and_names

    workdir, names = run_and_names(arguments.workdir, arguments.encoder)
    allow = allowed(arguments.allow)
    with existing_run(workdir, arguments.step) as folder:
        from ssl_jax.devices.compiler import keep_compiled_programs
        from ssl_jax.evaluate.cache import FOLDER, Cache
        from ssl_jax.evaluate.run import evaluate_run

        keep_compiled_programs()
        if arguments.clear_cache:
            terminal.tell(f"{Cache(folder / FOLDER, 1).clear() / 2**20:,.0f} MiB of features removed")
        probes = _probes(arguments)
        options: dict[str, Any] = {} if names is None else {"encoder": names}
        options |= {"overrides": arguments.overrides} if arguments.overrides else {}
        options |= {key: getattr(arguments, key) for key in ("protocol", "data") if getattr(arguments, key)}
        options |= {key: Path(getattr(arguments, key)) for key in ("out", "clean") if getattr(arguments, key)}
        options |= {"cached": False} if arguments.no_cache else {}
        if arguments.follow:
            terminal.tell(_followed(folder, arguments, probes, allow, options))
        else:
            terminal.tell(evaluate_run(folder, probes, arguments.step, allow, **options))
    terminal.tell(os.path.join(arguments.out or workdir.rstrip("/"), "eval"))


def _probes(arguments: Namespace) -> tuple[str, ...] | None:
    return tuple(p.strip() for p in arguments.probes.split(",") if p.strip()) if arguments.probes else None


def _weights_named(arguments: Namespace) -> str | None:
    """The weight file or folder that --encoder names, if it names one, and no run is named."""
    if arguments.workdir is not None or len(arguments.encoder or ()) != 1:
        return None
    from ssl_jax.interop.files import is_weights

    word = arguments.encoder[0].strip()
    return word if is_weights(word, arguments.download) else None


def _evaluate_weights(weights: str, arguments: Namespace) -> None:
    from ssl_jax.devices.compiler import keep_compiled_programs
    from ssl_jax.evaluate.public import evaluate_weights
    from ssl_jax.evaluate.run import Asked

    keep_compiled_programs()
    asked = Asked(
        _probes(arguments), arguments.protocol, allow=allowed(arguments.allow), overrides=arguments.overrides,
        data=arguments.data, out=Path(arguments.out) if arguments.out else None, cached=not arguments.no_cache,
    )  # fmt: skip
    terminal.tell(evaluate_weights(weights, asked, arguments.download))
    terminal.tell(os.path.join(arguments.out, "eval"))


def _followed(
    folder: Path, arguments: Namespace, probes: tuple[str, ...] | None, allow: tuple[str, ...], options: dict[str, Any]
) -> str:
    from ssl_jax.evaluate.follow import follow_run
    from ssl_jax.evaluate.run import Asked

    if arguments.step is not None:
        raise UserError("--follow evaluates every checkpoint, and --step names one; give one of them")
    if str(folder) != os.path.normpath(arguments.workdir or str(folder)):
        raise UserError("--follow needs a run directory on this machine; name one, or evaluate the store without it")
    return follow_run(folder, Asked(probes, allow=allow, **options))
