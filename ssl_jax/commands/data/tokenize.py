"""`ssl-jax data tokenize`."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from ssl_jax.commands.shared.options import path_of
from ssl_jax.commands.shared.source import add_source, positive, progress, source_of
from ssl_jax.errors import UserError
from ssl_jax.rundir import terminal

ABOUT = "write texts once as files of tokens that are read at random, with a tokenizer that is trained or given"
EXAMPLE = "ssl-jax data tokenize text:/books --tokenizer bpe:8192 --out /data/books"


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    add_source(parser)
    parser.add_argument(
        "--tokenizer",
        type=path_of,
        metavar="KIND:N|FILE",
        help="bpe:8192 or wordpiece:8192 is trained on the texts; or a tokenizer.json, or wordnet",
    )
    parser.add_argument("--out", type=path_of, metavar="DIR", help="a new folder, or one whose making was stopped")
    parser.add_argument(
        "--sentinels",
        type=_whole,
        default=0,
        metavar="N",
        help="signs for hidden spans among the tokens, for T5 (32 or 100)",
    )
    parser.add_argument("--workers", type=positive, metavar="N", help="processes (default: one for each core)")
    parser.add_argument(
        "--max-bad-fraction",
        type=_share,
        default=0.001,
        metavar="X",
        help="the share of documents that may be no UTF-8 or no JSON, and are left out (default: 0.001)",
    )


def run(arguments: Namespace) -> None:
    """Make the files, or go on where that was stopped, and say what they hold."""
    from ssl_jax.data.text.tokenize import job_of, size_of, tokenize
    from ssl_jax.recipe.sources import written

    if not arguments.tokenizer or not arguments.out:
        raise UserError("data tokenize needs --tokenizer bpe:8192 (or wordpiece:N, or a tokenizer.json) and --out DIR")
    source, folder = source_of(arguments.source), Path(os.path.abspath(arguments.out))
    job = job_of(source, written(arguments.source), arguments.tokenizer, arguments.sentinels)
    workers = arguments.workers or os.cpu_count() or 1
    total = sum(size_of(source, part) for part in source.parts(job.part))
    with progress(total, "tokenised", "B") as advance:
        made = tokenize(source, job, arguments.tokenizer, folder, workers, arguments.max_bad_fraction, advance)
    terminal.tell(_told(made, folder))


def _told(made: dict[str, Any], folder: Path) -> str:
    from ssl_jax.data.text.tokenize import SAMPLE

    asked, per_token = made["plan"]["tokenizer"], made["bytes"] / made["tokens"]
    few = (
        ", fewer than asked: the text gives no more"
        if ":" in asked and made["vocabulary"] < int(asked.split(":")[1])
        else ""
    )
    learned = f"{few}, trained on {min(SAMPLE, made['bytes']) / 1e6:.3g} MB of the text at most" if ":" in asked else ""
    lines = [
        f"{made['documents']:,} documents of {made['tokens']:,} tokens, {per_token:.2f} bytes each",
        f"a vocabulary of {made['vocabulary']:,}{learned}",
    ]
    return "\n".join([*lines, *_left_out(made), f"digest {made['digest']}", f"tokens:{folder}"])


def _left_out(made: dict[str, Any]) -> list[str]:
    bad = [bad for part in made["parts"] for bad in part["listed"]]
    empty = [f"left out {made['empty']:,} empty documents"] if made["empty"] else []
    first = f"{bad[0]['name']!r} first ({bad[0]['reason']})" if bad else ""
    return empty + ([f"left out {made['bad']:,} that cannot be read, {first}"] if bad else [])


def _whole(word: str) -> int:
    if not word.isdecimal():
        raise UserError(f"{word!r} is no whole number from 0 on")
    return int(word)


def _share(word: str) -> float:
    try:
        share = float(word)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UserError(f"{word!r} is no fraction; use a number from 0 to 1")
    return share
