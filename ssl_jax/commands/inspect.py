"""`ssl-jax inspect`."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

from ssl_jax.commands.shared.options import path_of
from ssl_jax.rundir import terminal

ABOUT = "say what a weight file or folder is, and which section of a recipe fits it"
EXAMPLE = "ssl-jax inspect /models/dinov2-small"


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    parser.add_argument(
        "weights",
        type=path_of,
        metavar="PATH",
        help="a .safetensors file, a folder with config.json and model.safetensors, or org/name in the hub's local cache",
    )
    add_download(parser)


def add_download(parser: ArgumentParser) -> None:
    """Whether the network may be used."""
    parser.add_argument(
        "--download", action="store_true", help="fetch org/name if it is not in the local cache (needs ssl_jax[hub])"
    )


def run(arguments: Namespace) -> None:
    """Read the weights, and say what they are."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # nothing is computed
    from ssl_jax.interop.importing import imported
    from ssl_jax.interop.told import told

    terminal.tell(told(imported(arguments.weights, arguments.download)))
