"""`ssl-jax replay`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ssl_jax.commands.shared.cpu_devices import pretend_cpu_devices
from ssl_jax.commands.shared.exit_codes import DONE, FAILED
from ssl_jax.commands.shared.options import add_allow, add_cpu_devices, path_of
from ssl_jax.commands.shared.recipe import allowed
from ssl_jax.rundir import terminal

ABOUT = "compute the step of a crash bundle again, and name what is not finite"
EXAMPLE = "ssl-jax replay runs/x/crash/step_120"


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    parser.add_argument("bundle", type=path_of, metavar="BUNDLE", help="a directory <workdir>/crash/step_K")
    add_cpu_devices(parser)
    add_allow(parser)


def run(arguments: Namespace) -> int:
    """Compute the step of a crash bundle again; 1 if it does not end the same way."""
    allow = allowed(arguments.allow)
    if arguments.cpu_devices is not None:
        pretend_cpu_devices(arguments.cpu_devices)
    from ssl_jax.remote.opening import fetched
    from ssl_jax.training.replay import replay as again

    with fetched(arguments.bundle) as bundle:
        report, reproduced = again(bundle, allow)
    terminal.tell(report)
    return DONE if reproduced else FAILED
