"""Numbers of a run on their way from the device to the log, one dispatch late."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from ssl_jax.data import stages
from ssl_jax.data.units import Records, Units, per_second
from ssl_jax.recipe import Recipe
from ssl_jax.rundir.log import MetricsLog, NoLog, logger
from ssl_jax.training.crash import Diverged

T = TypeVar("T")


class Dispatch(NamedTuple):
    """The `length` steps that end at `step`: metrics on the device, `ids` and `epochs` [length, B], units of one step."""

    step: int
    length: int
    metrics: Any
    ids: np.ndarray
    epochs: np.ndarray
    units: Units


class Monitor:
    """Writes each step's metrics when they are surely there, and stops a run whose steps are skipped again and again.

    Args:
        log: where they go.
        recipe: for the batch size and the number of skipped steps in a row that ends the run.
        checkpoint_age: seconds since the last save, or None.
        every: steps between lines.
        units: what a batch of this process holds besides examples (`data/units.py`); every process holds as much.
        readers: how many threads or processes make the batches.
    """

    def __init__(
        self,
        log: MetricsLog | NoLog,
        recipe: Recipe,
        checkpoint_age: Callable[[], float | None],
        every: int,
        units: Callable[[Records], Units] = lambda batch: {},
        readers: int = 1,
    ) -> None:
        self._log, self._batch_size, self._age, self._every = log, recipe.batch_size, checkpoint_age, every
        self._patience = recipe.optimizer.max_nonfinite_steps
        self._units = units
        self._readers = readers
        self._pending: Dispatch | None = None
        self._bad: deque[tuple[int, list[int]]] = deque(maxlen=self._patience)
        self._health: str | None = None
        self.applied = True  # the last step that was recorded
        self._start_anew()

    def timed(self, wait: Callable[[], T]) -> T:
        """`wait()`, counted as time spent waiting for data."""
        start = time.monotonic()
        result = wait()
        self._waited += time.monotonic() - start
        return result

    def push(self, step: int, count: int, metrics: Any, batch: dict[str, np.ndarray]) -> None:
        """Take the metrics of the `count` steps that end at `step` (still being computed), and record the ones before.

        Raises Diverged if one of those was the last skipped step in a row that is allowed.
        """
        self.flush()
        ids, epochs = batch["_id"].reshape(count, -1), batch["_epoch"].reshape(count, -1)
        self._pending = Dispatch(step, count, metrics, ids, epochs, self._held(batch, count))

    def flush(self) -> None:
        """Record what is pending. Waits for the device."""
        if self._pending is None:
            return
        step, count, metrics, ids, epochs, units = self._pending
        self._pending = None
        metrics = jax.tree.map(np.atleast_1d, jax.device_get(jax.block_until_ready(metrics)))
        for i in range(count):
            self._done.update(units)
            self._record(step - count + 1 + i, {k: v[i] for k, v in metrics.items()}, ids[i], epochs[i])

    def health(self, check: dict[str, Any]) -> dict[str, Any]:
        """Remember the verdict for the progress line; returns `check`. The time it took counts for nobody."""
        self._health = check.get("health", self._health)
        self._start_anew()
        return check

    def _record(self, step: int, metrics: dict[str, Any], ids: np.ndarray, epochs: np.ndarray) -> None:
        self._steps += 1
        last = False
        self.applied = not metrics["skipped_in_a_row"]
        if not self.applied:
            last = self._skipped(step, metrics, ids)
        if step % self._every == 0 or step == self._log.total_steps or last:
            self._write(step, metrics)
        if last:
            raise Diverged(step, metrics, ids, epochs, list(self._bad))

    def _write(self, step: int, metrics: dict[str, Any]) -> None:
        elapsed = max(time.monotonic() - self._since, 1e-9)
        rates = {"examples_per_s": self._steps * self._batch_size / elapsed, "data_wait": self._waited / elapsed}
        stage_shares = stages.shares(stages.taken(), elapsed, self._readers)
        speeds = {unit: amount / elapsed for unit, amount in self._done.items()}
        stated = {f"data_{name}": share for name, share in stage_shares.items()}
        self._log.write(step, **metrics, **rates, **stated, **{per_second(u): speed for u, speed in speeds.items()})
        shown = {name: metrics[name] for name in ("loss", "lr")} | {"speeds": speeds}
        slowest = max(stage_shares, key=lambda name: stage_shares[name], default=None)
        self._log.progress(
            step, **shown, checkpoint_age=self._age(), health=self._health, slowest_stage=slowest, **rates
        )
        self._start_anew()

    def _start_anew(self) -> None:
        stages.taken()
        self._waited, self._steps, self._since = 0.0, 0, time.monotonic()
        self._done: Counter[str] = Counter()

    def _held(self, batch: Records, count: int) -> Units:
        """Units of one of the `count` steps, of all processes."""
        rows = {k: v.reshape(-1, *v.shape[2:]) for k, v in batch.items()} if count > 1 else batch
        return {unit: amount * jax.process_count() / count for unit, amount in self._units(rows).items()}

    def _skipped(self, step: int, metrics: dict[str, Any], ids: np.ndarray) -> bool:
        """Tell; True if this was the last one that is allowed."""
        self._bad.append((step, ids.tolist()))
        row, loss, norm = int(metrics["skipped_in_a_row"]), float(metrics["loss"]), float(metrics["grad_norm"])
        finite = math.isfinite(loss) and math.isfinite(norm)
        what = f"loss {loss:.4g} or gradient norm {norm:.4g} is a spike" if finite else "loss or gradient is not finite"
        logger.warning("step %d: %s; the step was not applied (%d in a row)", step, what, row)
        return row >= self._patience
