"""`ssl-jax data mine`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from ssl_jax.commands.shared.folders import existing_run
from ssl_jax.commands.shared.options import add_allow, add_workdir, path_of
from ssl_jax.commands.shared.recipe import allowed
from ssl_jax.commands.shared.source import positive
from ssl_jax.rundir import terminal

ABOUT = "find hard negatives for a bi-encoder: passages that it takes for a query's own, and that are others"
EXAMPLE = "ssl-jax data mine pretrain --workdir runs/biencoder --out negatives.npz"
DEPTH = 20


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    parser.add_argument(
        "source", metavar="SRC", help="a split of the recipe (pretrain, probe, test), or a source of pairs"
    )
    add_workdir(parser, "a run directory of a bi-encoder")
    parser.add_argument("--step", type=int, metavar="N", help="which checkpoint; default: the newest")
    parser.add_argument("--out", type=path_of, default="negatives.npz", metavar="FILE", help="default: negatives.npz")
    parser.add_argument(
        "--depth", type=positive, default=DEPTH, metavar="K", help=f"negatives of each record (default: {DEPTH})"
    )
    add_allow(parser)


def run(arguments: Namespace) -> None:
    """Encode queries and passages, search, and write which passages were nearest."""
    from ssl_jax.errors import UserError

    if Path(arguments.out).suffix != ".npz":
        raise UserError(f"--out {arguments.out}: negatives are written as .npz; name such a file")
    allow = allowed(arguments.allow)
    with existing_run(arguments.workdir, arguments.step) as workdir:
        from ssl_jax.devices.compiler import keep_compiled_programs
        from ssl_jax.evaluate.mining import hard_negatives
        from ssl_jax.evaluate.progress import Progress
        from ssl_jax.evaluate.run import telling
        from ssl_jax.evaluate.sources import source_named
        from ssl_jax.rundir.log import logger
        from ssl_jax.training.reopen import open_run

        keep_compiled_programs()
        with telling(workdir, "mine.log") as status:
            opened = open_run(workdir, arguments.step, allow)
            source = source_named(arguments.source, opened.recipe)
            heard = Progress("queries and passages", "records", logger.info, status)
            found = hard_negatives(opened, source, arguments.depth, heard)
    try:
        _write(found, source.fingerprint(), Path(arguments.out))
    except OSError as error:
        raise UserError(f"--out {arguments.out} cannot be written: {error.strerror}; name another file") from error
    terminal.tell(
        f"{len(found):,} records, {arguments.depth} negatives each\n"
        f"train with them: data.pretrain=dict(target='ssl_jax.data.sources:Mined', source=..., negatives='{arguments.out}') "
        "and augment.passages=('passage', 'negative_1')"
    )


def _write(found: Any, fingerprint: str, path: Path) -> None:
    import numpy as np

    from ssl_jax.rundir.writing import replacing

    with replacing(path) as file:
        np.savez_compressed(file, negatives=found, source=np.array(fingerprint))
