"""The loop of a run: a dispatch of steps after the other, and between them whatever is due."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
from ssl_jax.training.monitor import Monitor
from ssl_jax.training.step import TrainState

Batches = Iterator[dict[str, np.ndarray]]


@dataclass(frozen=True)
class Intervals:
    """Every how many steps something is due (0: never), of `total`, with so many `per_dispatch`."""

    total: int
    per_dispatch: int
    save: int
    check: int
    compare: int


@dataclass
class Loop:
    """A run under way. `state`, `step`, `owed` and `stopped` move, all else stays.

    steps: the compiled program for each number of steps in a dispatch.
    online: the check of the representation; what it finds is written.
    sound, usable: refuse a state whose copies differ, and one that cannot be trained on.
    save: writes a checkpoint of the step that is given.
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
    sound: Callable[[TrainState], None]
    usable: Callable[[TrainState], None]
    save: Callable[[int, TrainState], None]
    state: TrainState
    step: int = 0
    owed: bool = False  # a checkpoint that is due
    stopped: bool = False  # it was told to, before its end or at it
    ran: set[int] = field(default_factory=set)

    def run(self) -> None:
        """To the end, or to the step where the run is told to stop."""
        while self.step < self.every.total:
            before = self.step
            self.dispatch()
            self.stopped = self.stop.requested()
            self.between(before, self.step == self.every.total or self.stopped)
            if self.stopped:
                return

    def dispatch(self) -> None:
        """The next steps, as many as fit into a dispatch. Does not wait for the device."""
        fits = self.step + self.every.per_dispatch <= self.every.total
        count = self.every.per_dispatch if fits else 1
        self.watchdog.beat(self.step, "data")
        batch = self.monitor.timed(lambda: stacked(self.stream, count))
        self.watchdog.beat(self.step, "step" if count in self.ran else "compile")
        with stage("place"):
            placed = place_batch(batch, batch_sharding(self.mesh, steps_axis=count > 1))
        self.state, metrics = self.steps[count](self.state, placed)
        self.ran.add(count)
        self.step += count
        self.monitor.push(self.step, count, metrics, batch)
        self.saved.poll()

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
        if saving or due(self.every.compare, before, self.step):
            self.watchdog.beat(self.step, "check")
            self.sound(self.state)  # before every save, so that none is made of copies that differ
        if saving:
            self.keep()

    def check(self) -> None:
        """Measure the representation, and write it down."""
        self.watchdog.beat(self.step, "check")
        self.monitor.flush()
        self.log.write(self.step, **self.monitor.health(self.online(self.state)))

    def keep(self) -> None:
        """A checkpoint of this step."""
        self.usable(self.state)
        self.watchdog.beat(self.step, "save")
        self.log.sync()
        self.save(self.step, self.state)
        self.owed = False


def stacked(stream: Batches, count: int) -> dict[str, np.ndarray]:
    """The next batch, or the next `count` batches stacked along a new axis 0."""
    if count == 1:
        return next(stream)
    several = [next(stream) for _ in range(count)]
    return {k: np.stack([b[k] for b in several]) for k in several[0]}


def due(every: int, before: int, after: int) -> bool:
    """Whether a multiple of `every` lies in (before, after]."""
    return bool(every) and after // every > before // every
