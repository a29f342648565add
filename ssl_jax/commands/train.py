"""`ssl-jax train`."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from functools import cache, partial

from ssl_jax.commands.shared.options import add_config, add_workdir
from ssl_jax.commands.shared.recipe import here, recipe_of
from ssl_jax.rundir import terminal

ABOUT = "pretrain without labels; starting again with the same directory resumes"
EXAMPLE = """ssl-jax train --data /photos --workdir runs/x
  ssl-jax train --config mae_vit_fashion:tiny --workdir runs/x --config.optimizer.lr=1e-3"""


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    add_config(parser)
    add_workdir(parser, "the run directory; created, or resumed")
    parser.add_argument(
        "--allow-config-change",
        action="append",
        default=[],
        metavar="KEY",
        help="resume although this key (optimizer.lr, or a section) differs from the run's config.json; repeatable",
    )
    parser.add_argument(
        "--allow-data-change",
        action="store_true",
        help="resume although the data is not what the checkpoint was trained with; the order of examples changes",
    )
    several = parser.add_argument_group(
        "several processes (found by themselves under SLURM, Open MPI, GKE and on TPU VMs)"
    )
    several.add_argument(
        "--coordinator", metavar="HOST:PORT", help="of process 0; default: 127.0.0.1:47473, this machine"
    )
    several.add_argument("--processes", type=int, metavar="N", help="how many make up this run")
    several.add_argument("--process-id", type=int, metavar="I", help="which one this is, 0 to N-1")


def run(arguments: Namespace) -> None:
    """Pretrain, or resume: `ssl_jax.training.run.run(recipe, workdir)` inside an open run directory."""
    notes: list[str] = []
    join = cache(partial(_join, arguments))
    config, recipe = recipe_of(arguments, notes.append, lambda: join() or here())
    join()
    from ssl_jax.devices import distributed
    from ssl_jax.devices.compiler import keep_compiled_programs
    from ssl_jax.remote.opening import run_directory
    from ssl_jax.rundir.log import logger
    from ssl_jax.training.run import run

    with (
        run_directory(arguments.workdir) as folder,
        distributed.open_together(folder, config, arguments.allow_config_change) as workdir,
    ):
        keep_compiled_programs()
        for note in notes:  # here, so that they are in train.log
            logger.info(note)
        run(recipe, workdir, allow_data_change=arguments.allow_data_change)
    from ssl_jax.recipe.files import flags_to_allow

    flags = flags_to_allow(recipe.objective.needed, arguments.config or "", arguments.allow)
    words = ["--workdir", arguments.workdir, *(word for flag in flags for word in ("--allow", flag))]
    following = "report" if arguments.data and recipe.data.test is None else "eval"
    terminal.tell(f"{arguments.workdir}\nNext: ssl-jax {following} {shlex.join(words)}")


def _join(arguments: Namespace) -> None:
    """Meet the other processes of the run, before jax looks for devices."""
    from ssl_jax.devices import distributed

    distributed.start(arguments.coordinator, arguments.processes, arguments.process_id)
