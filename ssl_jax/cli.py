"""`ssl-jax <command>`: parse, call, and say in one line what went wrong."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from ssl_jax.arguments import parse_arguments
from ssl_jax.commands import command
from ssl_jax.commands.shared.exit_codes import DONE, FAILED, FIXABLE, INTERRUPTED
from ssl_jax.commands.shared.folders import check_addresses
from ssl_jax.devices.allocator import keep_freed_memory
from ssl_jax.devices.compiler import leave_out_absent_tpu
from ssl_jax.errors import UserError
from ssl_jax.rundir import terminal


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0: done, or saved after a signal; 2: the user can fix it (one message on stderr); 3: `plan`
    says that it does not fit; 130: Ctrl-C before or after training; 1: else, a failed check of `verify` among it.
    """
    terminal.prepare()
    code = _run(list(sys.argv[1:] if argv is None else argv))
    terminal.finish()
    return code


def _run(argv: list[str]) -> int:
    try:
        arguments = parse_arguments(argv)
        check_addresses(arguments)
        leave_out_absent_tpu()  # before jax looks for devices
        keep_freed_memory()  # before jax makes its threads
        return command(arguments.command).run(arguments) or DONE
    except UserError as error:
        terminal.complain(f"ssl-jax: {error}")
        return FIXABLE
    except KeyboardInterrupt:
        terminal.complain("\nssl-jax: interrupted; run the same command again: what was saved is not lost")
        return INTERRUPTED
    except SystemExit as stop:  # argparse after --help and --version
        return stop.code if isinstance(stop.code, int) else FAILED
    except Exception:
        terminal.complain(traceback.format_exc().rstrip())
        return FAILED
