"""What becomes of a run whose check found that its features have collapsed: it goes on, is saved and ends, or goes back.

A run never goes back and on by itself: the same steps on the same batches would collapse again. It ends with what to change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssl_jax.checkpoint.store import Checkpoints
from ssl_jax.evaluate.probes.health import COLLAPSED, HEALTHY
from ssl_jax.rundir.log import logger

_CHANGE = "a lower optimizer.lr, a longer schedule.warmup, a larger batch_size, or the part of the objective that keeps it apart"


def told(found: Mapping[str, Any], before: str | None) -> None:
    """Say what a check found, where it is not what the one before it did."""
    if found["health"] not in (HEALTHY, before):
        logger.warning("health: %s since step %s: %s", found["health"], found["health_since"], found["health_reason"])


def ends(action: str, found: Mapping[str, Any]) -> bool:
    """Whether a run with this `health.action` ends after such a check."""
    return action != "none" and found["health"] == COLLAPSED


def paused(step: int, found: Mapping[str, Any]) -> None:
    """Say that the run ended with its state saved."""
    logger.warning(
        "health.action=pause: ended at step %d, and saved: %s since step %s (%s). "
        "Change what made it so: %s; or go on as it is: --config.health.action=none --allow-config-change health.action",
        step, found["health"], found["health_since"], found["health_reason"], _CHANGE,
    )  # fmt: skip


def rolled_back(step: int, found: Mapping[str, Any], healthy: int | None, saved: Checkpoints) -> None:
    """Rename the checkpoints since the last healthy check, and say from where the same command goes on."""
    left = saved.roll_back(-1 if healthy is None else healthy, f"{found['health']}: {found['health_reason']}")
    place = "the beginning, as no checkpoint is that old" if left is None else f"step {left}"
    logger.warning(
        "health.action=rollback: ended at step %d: %s since step %s (%s). The same command goes on from %s; first change: %s",
        step, found["health"], found["health_since"], found["health_reason"], place, _CHANGE,
    )  # fmt: skip
