"""`ssl-jax data prepare`."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from ssl_jax.commands.shared.options import path_of
from ssl_jax.commands.shared.source import SIZE, add_source, positive, progress, source_of
from ssl_jax.rundir import terminal

ABOUT = "write a source once as files that are read at random fast: ArrayRecord, or decoded pixels with --raw"
EXAMPLE = "ssl-jax data prepare folder:/data/in1k/train /data/in1k-320 --short-side 320"


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    add_source(parser)
    parser.add_argument(
        "folder", metavar="DST", type=path_of, help="a new folder, or one whose preparation was stopped"
    )
    parser.add_argument(
        "--short-side", type=positive, metavar="N", help="scale pictures whose shorter side is above N down to N"
    )
    parser.add_argument(
        "--raw", type=positive, metavar="SIZE", help="decode to squares of SIZE pixels, which need no decoding any more"
    )
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="files made at a time (default: one for each core)"
    )


def run(arguments: Namespace) -> None:
    """Make the files, or go on where that was stopped, and say what they hold."""
    from ssl_jax.data.prepare import plan, prepare
    from ssl_jax.errors import UserError
    from ssl_jax.recipe.sources import written

    if arguments.raw and arguments.short_side:
        raise UserError("--raw and --short-side are two ways to store pictures; use one of them")
    source = source_of(arguments.source, arguments.raw or SIZE)
    kind = "raw" if arguments.raw else "arrayrecord"
    job = plan(source, written(arguments.source), kind, arguments.short_side)
    folder = Path(os.path.abspath(arguments.folder))
    with progress(job.total, "prepared") as advance:
        made = prepare(source, job, folder, arguments.workers or os.cpu_count() or 1, advance)
    terminal.tell(_told(made, folder))


def _told(made: dict[str, Any], folder: Path) -> str:
    bad = [bad for part in made["parts"] for bad in part["bad"]]
    size = sum(os.path.getsize(folder / name) for part in made["parts"] for name in part["files"])
    lines = [f"{made['records']} records, {len(made['classes'])} named classes, {size / 2**20:.1f} MiB"]
    lines += [f"left out {len(bad)} that cannot be read, {bad[0]['name']!r} first ({bad[0]['reason']})"] if bad else []
    pattern = "raw:{}/*.pixels.npy" if made["plan"]["kind"] == "raw" else "arrayrecord:{}/*.array_record"
    return "\n".join([*lines, pattern.format(folder)])
