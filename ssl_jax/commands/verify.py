"""`ssl-jax verify`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from functools import partial

from ssl_jax.commands.shared.cpu_devices import again_on_cpu_devices
from ssl_jax.commands.shared.exit_codes import DONE, FAILED
from ssl_jax.commands.shared.folders import write_to
from ssl_jax.commands.shared.options import add_config, path_of
from ssl_jax.commands.shared.phases import add_phase, each_phase, heading, of_phase
from ssl_jax.commands.shared.recipe import recipe_of
from ssl_jax.rundir import terminal

ABOUT = "prove on your recipe that devices, sharding, accumulation, resume and resharding change nothing"
EXAMPLE = "ssl-jax verify --config mae_vit_fashion:tiny --out verify.json"
VERIFY_DEVICES = 8  # CPU devices pretended where the machine has a single device


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    add_config(parser)
    add_phase(parser)
    parser.add_argument("--checks", metavar="A,B", help="only these (default: all)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="examples in a batch (default: 4 on each device)")
    parser.add_argument("--out", type=path_of, metavar="FILE", help="also write the result as JSON")


def run(arguments: Namespace) -> int:
    """Check on the user's recipe what the tests check on ours; 1 if a check fails."""
    config, recipe = recipe_of(arguments)
    import jax

    if jax.device_count() == 1 and arguments.cpu_devices is None:
        return again_on_cpu_devices(arguments, VERIFY_DEVICES)
    from ssl_jax.verify.run import chosen, write
    from ssl_jax.verify.run import verify as run

    checks = chosen(arguments.checks)
    failed: list[str] = []
    for phase, part in each_phase(config, recipe, arguments.phase).items():
        for line in heading(phase):
            terminal.tell(line)
        report = run(part, recipe.objective.allow, arguments.batch_size, checks, terminal.tell)
        failed += [
            f"{name} ({phase})" if phase else name for name, made in report.outcomes.items() if made.status == "FAIL"
        ]
        if arguments.out:
            write_to(partial(write, report, part), of_phase(arguments.out, phase))
    terminal.tell(f"FAILED: {', '.join(failed)}" if failed else "passed")
    return FAILED if failed else DONE
