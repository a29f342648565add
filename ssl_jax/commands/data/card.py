"""`ssl-jax data card`."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ssl_jax.commands.shared.options import add_allow, path_of
from ssl_jax.commands.shared.recipe import allowed
from ssl_jax.rundir import terminal

ABOUT = "what a set of pictures holds: sizes, bad records, duplicates, balance, and what it lacks beside another"
EXAMPLE = "ssl-jax data card folder:/photos --out card"


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    out = "for card.json and card.html; in a run directory the report shows it too (default: card)"
    parser.add_argument("source", type=path_of, metavar="SRC", help="a source, a recipe or a run directory")
    parser.add_argument("--reference", type=path_of, metavar="SRC", help="how much of this set the first one covers")
    parser.add_argument("--encoder", type=path_of, metavar="RUN", help="the run in whose features that is measured")
    parser.add_argument("--key", default="image", metavar="FIELD", help="the field of the records that holds pictures")
    parser.add_argument("--out", type=path_of, default="card", metavar="FOLDER", help=out)
    add_allow(parser)


def run(arguments: Namespace) -> None:
    """Look at all records, write the card, and print what it says."""
    allow = allowed(arguments.allow)
    from ssl_jax.audit.card import card
    from ssl_jax.audit.card_page import page, summary
    from ssl_jax.audit.named import named
    from ssl_jax.audit.saved import in_folder, json_of

    source = named(arguments.source, "pretrain", terminal.tell, allow)
    reference = named(arguments.reference, "pretrain", terminal.tell, allow) if arguments.reference else None
    embed = None
    if arguments.encoder:
        from ssl_jax.audit.embeddings import embedder

        embed = embedder(Path(arguments.encoder), allow)
    made = card(source, reference, embed, arguments.key, say=terminal.tell)
    terminal.tell(summary(made))
    in_folder({"card.json": json_of(made), "card.html": page(made)}, Path(arguments.out))
    terminal.tell(os.path.join(arguments.out, "card.html"))
