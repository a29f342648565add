"""`ssl-jax data stats`."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ssl_jax.commands.shared.folders import write_to
from ssl_jax.commands.shared.options import path_of
from ssl_jax.commands.shared.source import SIZE, add_source, positive, progress, source_of
from ssl_jax.rundir import terminal

ABOUT = "count what a source holds: sizes, classes, bad records, mean and std of its pixels, or of its log-mel energies"
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
    parser.add_argument(
        "--mel",
        default="htk",
        metavar="NAME",
        help="of recordings: the front end, htk, kaldi or slaney, with options as in 'kaldi?bands=128&hop=10' (default: htk)",
    )
    parser.add_argument("--out", type=path_of, metavar="FILE", help="also write it as JSON")


def run(arguments: Namespace) -> None:
    """Read everything once, and print it."""
    source = source_of(arguments.source, arguments.size)
    count, told = (_sounds(arguments.mel, source.rate), _told_sounds) if hasattr(source, "rate") else (_pictures, _told)
    with progress(len(source), "read") as advance:
        found = count(source, threads=os.cpu_count() or 1, advance=advance)
    terminal.show(told(found))
    if arguments.out:
        write_to(partial(_write, found), arguments.out)


def _pictures(source: Any, **options: Any) -> dict[str, Any]:
    from ssl_jax.data.stats import stats

    return stats(source, **options)


def _sounds(mel: str, rate: int) -> Callable[..., dict[str, Any]]:
    from ssl_jax.data.audio.logmel import logmel_of
    from ssl_jax.data.audio.stats import stats
    from ssl_jax.recipe.sources import read_options

    name, _, options = mel.partition("?")
    return partial(stats, mel=logmel_of({"name": name, **read_options(options, "--mel")}, rate, "--mel"))


def _told_sounds(found: dict[str, Any]) -> str:
    rows = [f"{name:<13} " + "  ".join(f"{k} {v}" for k, v in found[name].items()) for name in ("seconds", "peak")]
    bands = [f"{name} by band  ({', '.join(map(str, found[name]))})" for name in ("mean", "std")]
    return "\n".join(
        [
            f"records       {found['records']}",
            *rows,
            f"augment.mean  ({found['mean_of_all']},)",
            f"augment.std   ({found['std_of_all']},)",
            *bands,
            f"labels        {_labels(found)}",
            f"bad records   {found['bad']}",
            *(f"  {bad['name']!r}: {bad['reason']}" for bad in found["bad_records"]),
        ]
    )


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
