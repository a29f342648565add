"""The loop of a run: a dispatch of steps after the other, and between them whatever is due."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jax.sharding import Mesh

from ssl_jax.checkpoint.store import Checkpoints
from ssl_jax.data.stages import stage
from ssl_jax.devices.mesh import batch_sharding, place_batch
from ssl_jax.devices.signals import Stop
from ssl_jax.devices.watchdog import Watchdog
from ssl_jax.rundir.log import MetricsLog, NoLog
from ssl_jax.training import heed
from ssl_jax.training.monitor import Monitor
from ssl_jax.training.step import TrainState
from ssl_jax.training.usable import unusable

Batches = Iterator[dict[str, np.ndarray]]


@dataclass(frozen=True)
class Intervals:
    """Every how many steps something is due (0: never), up to step `total`, with so many `per_dispatch`.

    `final`: whether the run ends there, and not only a phase of it.
    """

    total: int
    per_dispatch: int
    save: int
    check: int
    compare: int
    final: bool = True


@dataclass
class Loop:
    """A run under way. `state`, `step`, `batch`, `owed` and `stopped` move, all else stays.

    steps: the compiled program for each number of steps in a dispatch.
    online: the check of the representation; what it finds is written.
    action: `health.action`: what becomes of the run where the check finds that it has collapsed.
    sound, usable: refuse a state whose copies differ, and one that cannot be trained on.
    save: writes a checkpoint of the step that is given, and names it once the function with it says that it is good.
    """

    every: Intervals
    mesh: Mesh
    steps: Mapping[int, Callable[..., tuple[TrainState, Any]]]
    stream: Batches
    log: MetricsLog | NoLog
    monitor: Monitor
    saved: Checkpoints
    stop: Stop
    watchdog: Watchdog
    online: Callable[[TrainState], dict[str, Any]]
    last_healthy: Callable[[], int | None]
    action: str
    sound: Callable[[TrainState], None]
    usable: Callable[[TrainState], None]
    save: Callable[[int, TrainState, Callable[[], bool]], None]
    state: TrainState
    step: int = 0
    batch: dict[str, np.ndarray] = field(default_factory=dict)  # of the last dispatch
    count: int = 1  # of steps in it
    owed: bool = False  # a checkpoint that is due
    stopped: bool = False  # it was told to, before its end or at it
    ran: set[int] = field(default_factory=set)
    found: dict[str, Any] = field(default_factory=dict)  # by the last check
    ended: bool = False  # by what it found
    checked: list[float] = field(default_factory=list)  # seconds of each check
    begun: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """To the end, or to the step where the run is told to stop, by a signal or by its health."""
        while self.step < self.every.total:
            before = self.step
            self.dispatch()
            self.stopped = self.stop.requested()
            self.between(before, self.step == self.every.total or self.stopped)
            if self.stopped or self.ended:
                return

    def dispatch(self) -> None:
        """The next steps, as many as fit into a dispatch. Does not wait for the device."""
        fits = self.step + self.every.per_dispatch <= self.every.total
        count = self.every.per_dispatch if fits else 1
        self.watchdog.beat(self.step, "data")
        self.batch, self.count = self.monitor.timed(lambda: stacked(self.stream, count)), count
        self.watchdog.beat(self.step, "step" if count in self.ran else "compile")
        metrics = self.advance()
        self.ran.add(count)
        self.step += count
        self.monitor.push(self.step, count, metrics, self.batch)
        self.saved.poll()

    def advance(self) -> Any:
        """The steps of the batch at hand, from the present state; their metrics, on the device."""
        with stage("place"):
            placed = place_batch(self.batch, batch_sharding(self.mesh, steps_axis=self.count > 1))
        self.state, metrics = self.steps[self.count](self.state, placed)
        return metrics

    def between(self, before: int, last: bool) -> None:
        """What is due after the steps from `before` on: a check, a comparison of the copies, a checkpoint."""
        self.owed = self.owed or due(self.every.save, before, self.step)
        if last or self.owed:
            self.monitor.flush()
        saving = last or (
            self.owed and self.monitor.applied
        )  # parameters that the last loss was not finite with can wait
        if self.step == self.every.total or due(self.every.check, before, self.step):
            self.check()
            if self.ended and self.action == "rollback":
                return heed.rolled_back(self.step, self.found, self.last_healthy(), self.saved)
            saving = saving or self.ended
        if saving or due(self.every.compare, before, self.step):
            self.watchdog.beat(self.step, "check")
            self.sound(self.state)  # before every save, so that none is made of copies that differ
        if saving:
            self.keep(self.goes_on if self.parting and self.monitor.applied else lambda: None)
        if self.ended:
            heed.paused(self.step, self.found)
        return None

    @property
    def parting(self) -> bool:
        """Whether no step is made after this one, of this phase or the next."""
        return self.stopped or self.ended or (self.every.final and self.step == self.every.total)

    def check(self) -> None:
        """Measure the representation, and write it down."""
        self.watchdog.beat(self.step, "check")
        self.monitor.flush()
        start, before = time.monotonic(), self.found.get("health")
        self.found = self.online(self.state)
        self.checked.append(time.monotonic() - start)
        self.log.write(self.step, **self.monitor.health(self.found))
        heed.told(self.found, before)
        self.ended = heed.ends(self.action, self.found)

    def cost_of_checks(self) -> str:
        """What share of the time since the first step went into checks."""
        spent, whole = sum(self.checked), time.monotonic() - self.begun
        each = spent / max(1, len(self.checked))
        return f"{len(self.checked)} checks of the features took {100 * spent / whole:.1f} % of the time, {each:.2f} s each"

    def keep(self, proof: Callable[[], None]) -> None:
        """A checkpoint of this step, which gets its name when `proof` was given. That may use the state up."""
        self.usable(self.state)
        self.watchdog.beat(self.step, "save")
        self.log.sync()
        good: Future[bool] = Future()
        self.save(self.step, self.state, good.result)
        self.owed = False
        try:
            proof()
        except BaseException:
            good.set_result(False)
            raise
        good.set_result(True)

    def goes_on(self) -> None:
        """UserError unless the last batch, with which a step was made, still has a loss: after other steps the next one shows.

        It is the step itself once more, so that nothing has to be compiled; the state that it leaves is nobody's.
        """
        loss = np.atleast_1d(self.advance()["loss"])[0]
        if not np.isfinite(loss):
            raise unusable(self.step, f"the loss of its own batch is {loss} with them")


def stacked(stream: Batches, count: int) -> dict[str, np.ndarray]:
    """The next batch, or the next `count` batches stacked along a new axis 0."""
    if count == 1:
        return next(stream)
    several = [next(stream) for _ in range(count)]
    return {k: np.stack([b[k] for b in several]) for k in several[0]}


def due(every: int, before: int, after: int) -> bool:
    """Whether a multiple of `every` lies in (before, after]."""
    return bool(every) and after // every > before // every
