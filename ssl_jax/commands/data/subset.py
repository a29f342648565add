"""`ssl-jax data subset`."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import Any

from ssl_jax.commands.shared.folders import write_to
from ssl_jax.commands.shared.options import path_of
from ssl_jax.commands.shared.source import add_source, positive, progress, source_of
from ssl_jax.rundir import terminal

ABOUT = "choose records of a source into an index file, which is a source of its own: nothing is copied"
EXAMPLE = "ssl-jax data subset folder:/photos clean.json --dedup audit.json --balanced"


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    add_source(parser)
    parser.add_argument("index", metavar="OUT", type=path_of, help="the index file to write, e.g. clean.json")
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="only records whose label, name or text is VALUE, in which * stands for anything; repeatable",
    )
    parser.add_argument("--dedup", type=path_of, metavar="AUDIT.json", help="without what ssl-jax audit found again")
    count = parser.add_mutually_exclusive_group()
    count.add_argument(
        "--per-class", type=positive, metavar="N", help="N records of each class, or all where there are fewer"
    )
    count.add_argument("--balanced", action="store_true", help="as many of each class as the smallest has")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="which records of a class (default: 0)")


def run(arguments: Namespace) -> None:
    """Choose: by fields, then without duplicates, then so many of each class."""
    import numpy as np

    from ssl_jax.data import choose
    from ssl_jax.data.sources.indexed import Indexed, index_of
    from ssl_jax.errors import UserError
    from ssl_jax.recipe.sources import written

    how = _how(arguments)
    if not how:
        raise UserError("say what to choose: --filter FIELD=VALUE, --dedup AUDIT.json, --per-class N or --balanced")
    source = source_of(arguments.source)
    with progress(len(source), "read") as advance:
        ids = np.arange(len(source))
        for text in arguments.filter:
            ids = choose.matching(source, ids, *_split(text), advance)
        ids = choose.without_duplicates(source, ids, arguments.dedup) if arguments.dedup else ids
        if arguments.per_class or arguments.balanced:
            ids = choose.per_class(ids, choose.labels_of(source, advance), arguments.per_class, arguments.seed)
    if not len(ids):
        raise UserError(f"{' '.join(how)} leaves none of {len(source)} records")
    inner = source if isinstance(source, Indexed) else None
    text = written(arguments.source) if inner is None else _chosen_from(inner)
    whole, ids = (source, ids) if inner is None else (inner.source, inner.ids[ids])
    write_to(partial(_write, index_of(whole, text, ids, how)), arguments.index)
    terminal.tell(f"{len(ids)} of {len(source)} records\nsubset:{arguments.index}")


def _chosen_from(source: Any) -> str:
    """What a subset chooses from, so that a subset of it chooses from that as well."""
    from ssl_jax.data.sources.indexed import read

    return read(source.index)["source"]


def _split(text: str) -> tuple[str, str]:
    from ssl_jax.errors import UserError

    field, equals, value = text.partition("=")
    if not field or not equals:
        raise UserError(f"--filter {text}: write FIELD=VALUE, as in label=cat or name=*/night/*")
    return field, value


def _how(arguments: Namespace) -> list[str]:
    """The choice as words, for the index file."""
    words = [word for text in arguments.filter for word in ("--filter", text)]
    words += ["--dedup", arguments.dedup] if arguments.dedup else []
    words += ["--per-class", str(arguments.per_class)] if arguments.per_class else []
    words += ["--balanced"] if arguments.balanced else []
    return words + (["--seed", str(arguments.seed)] if arguments.per_class or arguments.balanced else [])


def _write(index: dict[str, Any], path: Path) -> None:
    from ssl_jax.rundir.writing import replace_file

    replace_file(path, json.dumps(index))
