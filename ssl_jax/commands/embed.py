"""`ssl-jax embed`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ssl_jax.commands.shared.folders import existing_run
from ssl_jax.commands.shared.options import add_allow, add_workdir, path_of
from ssl_jax.commands.shared.recipe import allowed
from ssl_jax.errors import UserError
from ssl_jax.rundir import terminal

ABOUT = "write the features of any data to a file: ids, names and what the encoder gives"
EXAMPLE = "ssl-jax embed --workdir runs/x test --out features.parquet"


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    parser.add_argument(
        "source",
        metavar="SRC",
        help="a split of the recipe (pretrain, probe, test), folder:/photos, or a path that is there",
    )
    add_workdir(parser, "a run directory written by ssl-jax train")
    parser.add_argument("--step", type=int, metavar="N", help="which checkpoint; default: the newest")
    parser.add_argument(
        "--encoder", metavar="NAME", help="student, teacher, image, or runs/x:teacher; default: the recipe's"
    )
    parser.add_argument(
        "--reading",
        action="append",
        default=[],
        metavar="A,B",
        help="own (default), class, mean or tokens, of another layer as mean@-4; repeatable",
    )
    parser.add_argument(
        "--out", type=path_of, default="features.parquet", metavar="FILE", help=".parquet (default), .npz or .npy"
    )
    add_allow(parser)


def run(arguments: Namespace) -> None:
    """Encode every record of the source."""
    allow = allowed(arguments.allow)
    words = [word.strip() for text in arguments.reading or ["own"] for word in text.split(",") if word.strip()]
    from ssl_jax.evaluate.spec import run_and_names

    place, name = run_and_names(arguments.workdir, arguments.encoder and [arguments.encoder])
    with existing_run(place, arguments.step) as workdir:
        from ssl_jax.devices.compiler import keep_compiled_programs
        from ssl_jax.evaluate.embed import embed
        from ssl_jax.evaluate.encoders import encoder_from
        from ssl_jax.evaluate.progress import Progress
        from ssl_jax.evaluate.readings import reading_named
        from ssl_jax.evaluate.run import telling
        from ssl_jax.evaluate.sources import source_named
        from ssl_jax.rundir.log import logger

        keep_compiled_programs()
        readings = [reading_named(word) for word in dict.fromkeys(words)]
        with telling(workdir, "embed.log") as status:
            found = encoder_from(workdir, arguments.step, allow, name)
            source = source_named(arguments.source, found.opened.recipe)
            heard = lambda title: Progress(title, "records", logger.info, status)  # noqa: E731
            try:
                count = embed(found, source, Path(arguments.out), readings, heard)
            except OSError as error:
                raise UserError(
                    f"--out {arguments.out} cannot be written: {error.strerror}; name another file"
                ) from error
    terminal.tell(f"{arguments.out}: {count:,} records")
