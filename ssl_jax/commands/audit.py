"""`ssl-jax audit`."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ssl_jax.commands.shared.options import add_allow, path_of
from ssl_jax.commands.shared.recipe import allowed
from ssl_jax.errors import UserError
from ssl_jax.rundir import terminal

ABOUT = "find pictures that are in two sets, or twice in one: exact, re-encoded, resized, cropped, flipped"
EXAMPLE = "ssl-jax audit --pretrain folder:/photos --eval folder:/photos-test --out audit"


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    source = "a source (folder:/photos, embedded:test, a path), a recipe or a run directory"
    second = "those it is tested on; without it, only what --pretrain holds twice"
    out = "for audit.json and audit.html (default: audit)"
    parser.add_argument("--pretrain", type=path_of, metavar="SRC", help=f"what was learned from: {source}")
    parser.add_argument("--eval", type=path_of, metavar="SRC", help=second)
    parser.add_argument("--encoder", type=path_of, metavar="RUN", help="a run: how alike its encoder finds the pairs")
    parser.add_argument("--across", action="store_true", help="only pairs across both sets, which is faster")
    parser.add_argument("--key", default="image", metavar="FIELD", help="the field of the records that holds pictures")
    parser.add_argument("--out", type=path_of, default="audit", metavar="FOLDER", help=out)
    add_allow(parser)


def run(arguments: Namespace) -> None:
    """Compare, write, and print what was found."""
    if not arguments.pretrain:
        raise UserError("audit needs --pretrain SRC, the pictures to look at, e.g. --pretrain folder:/photos")
    allow = allowed(arguments.allow)
    from ssl_jax.audit.named import named
    from ssl_jax.audit.page import page
    from ssl_jax.audit.run import audit, summary
    from ssl_jax.audit.saved import in_folder, json_of

    pretrain = named(arguments.pretrain, "pretrain", terminal.tell, allow)
    evaluation = named(arguments.eval, "eval", terminal.tell, allow) if arguments.eval else None
    similarity = None
    if arguments.encoder:
        from ssl_jax.audit.embeddings import similarity_of

        similarity = similarity_of(Path(arguments.encoder), allow)
    result = audit(pretrain, evaluation, arguments.key, not arguments.across, similarity, terminal.tell)
    terminal.tell(summary(result))
    sources = {"pretrain": pretrain} | ({"eval": evaluation} if evaluation else {})
    html = page(result, sources, arguments.key)
    in_folder({"audit.json": json_of(result), "audit.html": html}, Path(arguments.out))
    terminal.tell(os.path.join(arguments.out, "audit.html"))
