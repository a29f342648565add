"""`ssl-jax data stats`."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import Any

from ssl_jax.commands.shared.folders import write_to
from ssl_jax.commands.shared.options import path_of
from ssl_jax.commands.shared.source import SIZE, add_source, positive, progress, source_of
from ssl_jax.rundir import terminal

ABOUT = "count what a source holds: sizes, channels, classes, bad records, mean and std of its pixels"
EXAMPLE = "ssl-jax data stats folder:/photos"


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    add_source(parser)
    parser.add_argument(
        "--size",
        type=positive,
        default=SIZE,
        metavar="N",
        help=f"mean and std are of squares of N pixels (default: {SIZE})",
    )
    parser.add_argument("--out", type=path_of, metavar="FILE", help="also write it as JSON")


def run(arguments: Namespace) -> None:
    """Read everything once, and print it."""
    from ssl_jax.data.stats import stats

    source = source_of(arguments.source, arguments.size)
    with progress(len(source), "read") as advance:
        found = stats(source, os.cpu_count() or 1, advance)
    terminal.show(_told(found))
    if arguments.out:
        write_to(partial(_write, found), arguments.out)


def _write(found: dict[str, Any], path: Path) -> None:
    from ssl_jax.rundir.writing import replace_file

    replace_file(path, json.dumps(found, indent=1))


def _told(found: dict[str, Any]) -> str:
    sides = [f"{name:<13} " + "  ".join(f"{k} {v}" for k, v in found[name].items()) for name in ("height", "width")]
    modes = ", ".join(f"{count} {mode}" for mode, count in found["modes"].items())
    bad = [f"  {bad['name']!r}: {bad['reason']}" for bad in found["bad_records"]]
    return "\n".join(
        [
            f"records       {found['records']}",
            *sides,
            f"pixels        {modes}",
            f"augment.mean  ({', '.join(map(str, found['mean']))})",
            f"augment.std   ({', '.join(map(str, found['std']))})",
            f"labels        {_labels(found)}",
            f"bad records   {found['bad']}",
            *bad,
        ]
    )


def _labels(found: dict[str, Any]) -> str:
    counts = found["labels"]
    if not counts:
        return "none"
    most, least = max(counts, key=counts.get), min(counts, key=counts.get)
    several = counts[least] != counts[most]
    sizes = f"{counts[least]} ({least}) to {counts[most]} ({most})" if several else f"{counts[most]}"
    return f"{len(counts)} classes of {sizes} records each; {found['without_label']} records without"
