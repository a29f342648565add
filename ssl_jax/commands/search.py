"""`ssl-jax search`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ssl_jax.commands.shared.folders import existing_run
from ssl_jax.commands.shared.options import add_allow, add_workdir, path_of
from ssl_jax.commands.shared.recipe import allowed
from ssl_jax.errors import UserError
from ssl_jax.rundir import terminal

ABOUT = "find what is nearest to a text or a file among any data: printed, and as a page"
EXAMPLE = 'ssl-jax search --workdir runs/clip --query "a red kangaroo" --index test'


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    index = (
        "what to look through: a split of the recipe (pretrain, probe, test), pairs:/photos, or a path that is there"
    )
    parser.add_argument(
        "--query", required=True, metavar="TEXT|FILE", help="a text, or a file: a picture, a sound, a .txt"
    )
    parser.add_argument("--index", required=True, metavar="SRC", help=index)
    add_workdir(parser, "a run directory written by ssl-jax train")
    parser.add_argument("--step", type=int, metavar="N", help="which checkpoint; default: the newest")
    parser.add_argument(
        "--against", default="", metavar="NAME", help="compare with this of the records: image, text, ..."
    )
    parser.add_argument("--count", type=int, default=10, metavar="N", help="how many are shown (default: 10)")
    parser.add_argument(
        "--out", type=path_of, default="search.html", metavar="FILE", help="the page (default: search.html)"
    )
    add_allow(parser)


def run(arguments: Namespace) -> None:
    """Look, print, and write the page."""
    if arguments.count < 1:
        raise UserError(f"--count {arguments.count}: show at least one")
    if not arguments.workdir:
        raise UserError("search needs --workdir RUN, a run directory written by ssl-jax train")
    allow = allowed(arguments.allow)
    with existing_run(arguments.workdir, arguments.step) as workdir:
        from ssl_jax.devices.compiler import keep_compiled_programs
        from ssl_jax.evaluate.progress import Progress
        from ssl_jax.evaluate.run import telling
        from ssl_jax.evaluate.search import lines, search
        from ssl_jax.evaluate.sources import source_named
        from ssl_jax.report.search import page
        from ssl_jax.rundir.log import logger
        from ssl_jax.rundir.writing import replace_file
        from ssl_jax.training.reopen import open_run

        keep_compiled_programs()
        opened = open_run(workdir, arguments.step, allow)
        with telling(workdir, "search.log") as status:
            source = source_named(arguments.index, opened.recipe)
            heard = lambda title: Progress(title, "records", logger.info, status)  # noqa: E731
            hits = search(opened, arguments.query, source, arguments.count, arguments.against, heard)
            try:
                replace_file(Path(arguments.out), page(hits, arguments.query, source).encode(errors="replace"))
            except OSError as error:
                raise UserError(
                    f"--out {arguments.out} cannot be written: {error.strerror}; name another file"
                ) from error
    for line in lines(hits):
        terminal.tell(line)
    terminal.tell(arguments.out)
