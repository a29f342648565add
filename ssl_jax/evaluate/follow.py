"""`ssl-jax eval --follow`: the checkpoints of a run that trains meanwhile, each as it appears, until the run ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ssl_jax.errors import UserError
from ssl_jax.evaluate.protocols import protocol_named
from ssl_jax.evaluate.run import Asked, evaluated, telling
from ssl_jax.evaluate.sources import probe_and_test
from ssl_jax.rundir.log import logger
from ssl_jax.rundir.terminal import tell
from ssl_jax.rundir.workdir import is_active, saved_steps
from ssl_jax.training.reopen import recipe_of, reopened

POLL_SECONDS = 5.0
Evaluate = Callable[[int, Asked], str]


def follow_run(workdir: Path, asked: Asked, poll: float = POLL_SECONDS) -> str:
    """Evaluate each checkpoint of a run once, oldest first, and return the table of the last, which has the baselines.

    Before the run ends, only its encoders have rows: what stands beside does not change. A checkpoint that was removed meanwhile
    is left out, and one that cannot be evaluated is told. Ends when no process trains in `workdir` and nothing new is there.
    """
    named = None if asked.protocol is None else protocol_named(asked.protocol)
    recipe = recipe_of(workdir, asked.allow, asked.overrides)
    with telling(asked.out or workdir) as status:
        sources = probe_and_test(recipe, asked.data)

        def evaluate(step: int, asked: Asked) -> str:
            return evaluated(reopened(workdir, recipe, step), asked, named, *sources, status)

        return _followed(workdir, asked, evaluate, poll)


def _followed(workdir: Path, asked: Asked, evaluate: Evaluate, poll: float) -> str:
    done: set[int] = set()
    while True:
        active = is_active(workdir)  # asked before the steps are listed: the last one is there when the run has ended
        new = [step for step in saved_steps(workdir) if step not in done]
        if not new and active:
            time.sleep(poll)
        elif not active and len(new) <= 1:
            return _last(workdir, asked, evaluate)
        elif new:
            done.add(new[0])
            _one(workdir, new[0], replace(asked, baselines=()), evaluate)


def _one(workdir: Path, step: int, asked: Asked, evaluate: Evaluate) -> None:
    try:
        tell(f"step {step}\n{evaluate(step, asked)}")
    except UserError as error:
        gone = step not in saved_steps(workdir)
        logger.warning("step %d is left out: %s", step, "it was removed meanwhile" if gone else error)


def _last(workdir: Path, asked: Asked, evaluate: Evaluate) -> str:
    steps = saved_steps(workdir)
    if not steps:
        raise UserError(f"{workdir} has no checkpoint, and no process trains there; start `ssl-jax train` first")
    logger.info("the run has ended; step %d is evaluated beside its baselines", steps[-1])
    return evaluate(steps[-1], asked)
