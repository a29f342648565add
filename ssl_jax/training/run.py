"""The trainer: from a recipe to a run. It knows no objective by name and no modality.

`init_state` and `train_step` are pure (`step.py`); `run` adds the effects: data in, metrics out, checkpoints and checks at
their intervals. The loop never waits for the device between two checks: metrics are fetched one dispatch late.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from ssl_jax.checkpoint.store import Checkpoints
from ssl_jax.data.cropped import pictures_by
from ssl_jax.data.fit import check_channels, check_records, check_scales, check_vocabulary
from ssl_jax.data.pipeline import BadRecords, batches
from ssl_jax.data.units import units
from ssl_jax.devices.agreement import comparing, modules, places
from ssl_jax.devices.compiler import flags_told
from ssl_jax.devices.distributed import is_first, lost_peers_explained
from ssl_jax.devices.fatal import fatal_signals_told
from ssl_jax.devices.memory import out_of_memory_explained
from ssl_jax.devices.mesh import batch_sharding, check_batch, make_mesh, place_batch, state_shardings
from ssl_jax.devices.replicas import ReplicaCheck
from ssl_jax.devices.signals import Stop, stop_requests
from ssl_jax.devices.watchdog import Watchdog
from ssl_jax.errors import UserError
from ssl_jax.evaluate.online import OnlineCheck
from ssl_jax.evaluate.own_task import own_task
from ssl_jax.models.attention import flash_choices
from ssl_jax.objectives.base import Objective, State, as_it_is
from ssl_jax.optim import optimizers
from ssl_jax.recipe import Duration, InitFrom, Recipe, from_json, to_json
from ssl_jax.recipe.schema import Log, require
from ssl_jax.rundir.identity import Identity, identity
from ssl_jax.rundir.lines import Lines
from ssl_jax.rundir.log import MetricsLog, NoLog, logger, read_metrics
from ssl_jax.rundir.tracker import Tracker, check_installed
from ssl_jax.rundir.workdir import Workdir
from ssl_jax.training import opening, rate, spikes
from ssl_jax.training.crash import bundle_on_divergence
from ssl_jax.training.digests import augment_digest
from ssl_jax.training.fitting import fitted_to_records
from ssl_jax.training.init_from import initialised_from
from ssl_jax.training.loop import Intervals, Loop
from ssl_jax.training.monitor import Monitor
from ssl_jax.training.noise_scale import gradient_noise
from ssl_jax.training.ownership import new_owner, owner_on_resume, refuse_another_count, trained_differently
from ssl_jax.training.phases import Stretch, ahead, check_crossing, crossed, refuse_another_phase, stretches
from ssl_jax.training.records import as_learned, records_of
from ssl_jax.training.step import Setup as Setup
from ssl_jax.training.step import TrainState as TrainState
from ssl_jax.training.step import init_state as init_state
from ssl_jax.training.step import train_step as train_step
from ssl_jax.training.step import train_steps as train_steps
from ssl_jax.training.usable import UsableCheck


def build_objective(recipe: Recipe) -> Objective:
    """The objective that the recipe names, with its encoder and augmentation."""
    return recipe.objective.build(encoder=recipe.model.build(), augment=recipe.augment.build())


def build(recipe: Recipe, num_examples: int, origin: int = 0) -> Setup:
    """Everything the step needs, for a source of `num_examples` records; schedules count from the update `origin` on."""
    total = recipe.steps(num_examples)
    peak, note = recipe.optimizer.scaled_lr(recipe.batch_size)
    if note:
        logger.info(note)
    if warning := recipe.optimizer.lr_warning(recipe.batch_size):
        logger.warning(warning)
    warmup, groups = recipe.duration(recipe.schedule.warmup, num_examples), recipe.parameter_groups(num_examples)
    objective, allow = build_objective(recipe), recipe.objective.allow
    encoders = tuple(objective.encoder) if isinstance(objective.encoder, Mapping) else ("encoder",)
    section = recipe.optimizer
    optimizer, lr = optimizers.from_recipe(
        section, recipe.schedule, peak, total, warmup, groups, encoders, allow, origin
    )
    return Setup(
        objective, optimizer, recipe.seed, total, section.accumulation, section.gradient_cache,
        section.skip_spikes, section.max_nonfinite_steps, lr, origin,
    )  # fmt: skip


def run(recipe: Recipe, workdir: Workdir, allow_data_change: bool = False) -> None:
    """Train, or resume, in an open run directory, to the end or to the step where it is told to stop.

    Raises UserError for what the user can fix: sizes that do not fit the mesh, other data than the checkpoint's (unless
    `allow_data_change`), too many unreadable records, a loss that stays non-finite, checkpoints that cannot be saved, memory
    that does not suffice, a device that computes wrongly.
    """
    with ExitStack() as stack:
        watchdog = stack.enter_context(Watchdog(recipe.watch.hang_seconds, recipe.watch.startup_seconds))
        given = _given(recipe, workdir, allow_data_change)
        stack.enter_context(jax.set_mesh(given.mesh))
        stack.enter_context(lost_peers_explained())
        outlets = _outlets(recipe, workdir, given, stack)
        state = None
        for part in _ahead(recipe, given, outlets):
            with ExitStack() as open_parts:
                loop = _begun(recipe, workdir, part, outlets, watchdog, allow_data_change, open_parts, state)
                loop.run()
                if loop.checked:
                    _say()(loop.cost_of_checks())
            state = loop.state
            if loop.stopped or loop.ended:
                break
        outlets.saved.finish()
        _tell_the_end(loop, given.stretch.end, outlets.bad)


class Given(NamedTuple):
    """What a run, or a phase of it, has before anything is on a device. `meta` goes beside every checkpoint.

    `source` is what is learned from, `records` the recipe's own `data.pretrain` as it is, in which epochs are counted.
    """

    source: Any
    setup: Setup
    mesh: jax.sharding.Mesh
    meta: dict[str, Any]
    stretch: Stretch
    records: Any

    def steps(self, recipe: Recipe, duration: Duration) -> int:
        """A duration in steps of this run."""
        return recipe.duration(duration, len(self.records))


class Outlets(NamedTuple):
    """Where a run writes, and hears that it shall stop."""

    log: MetricsLog | NoLog
    stop: Stop
    saved: Checkpoints
    bad: BadRecords


def _say() -> Callable[..., None]:
    return logger.info if is_first() else logger.debug


def _given(recipe: Recipe, workdir: Workdir, allow_data_change: bool) -> Given:
    """Data, step and devices, after all processes found that they have the same; each is told."""
    say = _say()
    check_installed(recipe.log.trackers)
    say("reading the records of %s", recipe.data.pretrain.target.rpartition(":")[2])
    with comparing("data and code") as facts:
        records = recipe.data.pretrain.build()
        fingerprint = records.fingerprint()
        say(opening.data(records))
        setup = build(recipe, len(records))
        setup.objective.check_source(records)
        source = as_learned(recipe, setup.objective.augment, records)
        facts |= {"records": len(source), "fingerprint of the data": fingerprint, "total steps": setup.total_steps}
        facts |= {"--allow-data-change": allow_data_change} | modules(recipe.objective.allow)
    check_vocabulary(getattr(setup.objective, "augment", None), setup.objective.modules)
    for line in opening.pictures(recipe.data.crop, pictures_by(source)):
        say(line)
    say(opening.plan(recipe.batch_size, setup.total_steps, len(source)))
    for warning in setup.objective.warnings(recipe.batch_size):
        logger.warning(warning)
    mesh = make_mesh(recipe.mesh.data, recipe.mesh.fsdp, recipe.mesh.tensor)
    for line in (opening.devices(mesh), *places(), *flags_told(jax.default_backend())):
        say(line)
    check_batch(recipe.batch_size, mesh, max(setup.accumulation, setup.gradient_cache))
    augment = augment_digest(setup.objective.augment)
    if is_first():
        here = {"data": fingerprint, "augment": augment, "records": len(source), "processes": jax.process_count()}
        here |= pictures_by(source)
        workdir.record_devices(jax.devices(), mesh=dict(mesh.shape), **here)
    meta = {"data": fingerprint, "augment": augment, "batch_size": recipe.batch_size, "recipe": to_json(workdir.config)}
    return Given(source, setup, mesh, meta, Stretch("", recipe, 0, setup.total_steps, 0), records)


def _ahead(recipe: Recipe, given: Given, outlets: Outlets) -> list[Given]:
    """What is before the run: all of it, or the phase of the newest checkpoint and those after it, found to fit one another."""
    if not recipe.phases:
        return [given]
    step = outlets.saved.latest_valid_step()
    parts = [_in_phase(recipe, given, stretch) for stretch in ahead(stretches(recipe, len(given.records)), step or 0)]
    for before, after in itertools.pairwise(parts):
        told_shapes = state_like(before.setup, _batch(before, recipe, outlets.bad), given.mesh, recipe.mesh.rules)
        check_crossing(after.setup, told_shapes, _batch(after, recipe, outlets.bad))
    return parts


def _in_phase(recipe: Recipe, given: Given, stretch: Stretch) -> Given:
    """What one phase has, by its own recipe; the same in all processes. Data that it does not override is not read again."""
    with comparing(f"phase {stretch.name}") as facts:
        own = stretch.recipe.data.pretrain != recipe.data.pretrain
        records = stretch.recipe.data.pretrain.build() if own else given.records
        fingerprint = records.fingerprint() if own else given.meta["data"]
        setup = build(stretch.recipe, len(given.records), stretch.origin)
        source = as_learned(stretch.recipe, setup.objective.augment, records)
        facts |= {"records": len(source), "fingerprint of the data": fingerprint, "last step": stretch.end}
    check_batch(recipe.batch_size, given.mesh, max(setup.accumulation, setup.gradient_cache))
    augment = augment_digest(setup.objective.augment)
    meta = given.meta | {"data": fingerprint, "augment": augment, "phase": stretch.to_meta()}
    return given._replace(source=source, setup=setup, meta=meta, stretch=stretch)


def _batch(given: Given, recipe: Recipe, bad: BadRecords) -> dict[str, jax.ShapeDtypeStruct]:
    return batch_like(check_records(given.setup.objective.augment, given.source, bad), recipe.batch_size, bad)


def _outlets(recipe: Recipe, workdir: Workdir, given: Given, stack: ExitStack) -> Outlets:
    """Opened, and closed with the `stack`."""
    log = _log(workdir, given.setup.total_steps, recipe.log)
    stack.enter_context(log)
    stop, section = stack.enter_context(stop_requests()), recipe.checkpoint
    saved = Checkpoints(
        workdir.path / "checkpoints", section.keep, given.steps(recipe, section.keep_every), section.max_failures,
        in_place=workdir.check_place,
    )  # fmt: skip
    stack.enter_context(closing(saved))
    own = "" if is_first() else f".{jax.process_index()}"
    stack.enter_context(fatal_signals_told(workdir.path / f"train{own}.log"))
    listed = stack.enter_context(closing(Lines(workdir.path / f"bad_records{own}.jsonl")))
    bad = BadRecords(recipe.data.max_bad_fraction, listed.path, append=listed.append)
    return Outlets(log, stop, saved, bad)


def _log(workdir: Workdir, total: int, section: Log) -> MetricsLog | NoLog:
    if not is_first():
        return NoLog(total)
    trackers = [Tracker(name, workdir.path) for name in section.trackers]
    return MetricsLog(workdir, total, section.tensorboard, trackers=trackers)


def _begun(
    recipe: Recipe,
    workdir: Workdir,
    given: Given,
    outlets: Outlets,
    watchdog: Watchdog,
    allow_data_change: bool,
    stack: ExitStack,
    before: TrainState | None = None,
) -> Loop:
    """The loop at its first step, or at that of the newest checkpoint, or where the phase `before` ended."""
    say, (source, setup, mesh, meta, stretch, _), (log, stop, saved, bad) = _say(), given, outlets
    whole, recipe = recipe, stretch.recipe
    source = check_records(setup.objective.augment, source, bad)
    records = records_of(source, bad)
    like = _told_shapes(recipe, given, records.batch(recipe.batch_size))
    say("everything is written to %s, the model at the end to checkpoints/%d", workdir.path, setup.total_steps)
    stack.enter_context(out_of_memory_explained(recipe, like))
    meta |= {"records": records.to_meta()}
    every = Intervals(
        stretch.end, recipe.mesh.steps_per_dispatch, given.steps(whole, recipe.checkpoint.every),
        given.steps(whole, recipe.evaluate.every), given.steps(whole, recipe.watch.replicas),
        final=stretch.end == whole.steps(len(given.records)),
    )  # fmt: skip
    if stretch.name:
        say("phase %s: steps %d to %d", stretch.name, stretch.first + 1, stretch.end)
    if before is None:
        step, found, owner = _kept(whole, workdir, given, saved, like, allow_data_change)
        if is_first():
            workdir.accept(owner)
        log.cut_back(-1 if step is None else step, _lost_at_most(every.save, every.total))
    else:
        found = crossed(setup, before, like, records.batch(recipe.batch_size))
        step, owner = stretch.first, identity(workdir.path)
    meta |= {"run": owner.name}
    stream = stack.enter_context(closing(batches_from(step or 0, recipe, source, bad)))
    check = OnlineCheck(recipe, setup.objective, read_metrics(workdir.path))
    check_scales({"pretrain": source, "probe": check.source})
    check_channels(getattr(setup.objective, "augment", None), {"pretrain": records.fields, "probe": check.source})
    measure = _with_noise(check, given, recipe, bad) if recipe.health.noise_parts else check
    first = opening.first_timed(say, "compiling and making the first check of the features", measure)
    online = partial(tested_at_end, recipe, setup, first)
    programs = {
        n: opening.first_timed(say, opening.program(n), compiled(setup, n, like)) for n in {every.per_dispatch, 1}
    }
    logged = max(1, given.steps(whole, recipe.log.every))
    readers = max(1, recipe.data.workers or recipe.data.threads)
    monitor = Monitor(log, recipe, saved.age, logged, partial(units, setup.objective.augment), readers)
    if found is None:
        with opening.timed(say, "compiling and drawing the parameters"):
            fit = partial(fitted_to_records, setup.objective, given.records, bad)
            found = initialised(setup, records.batch(recipe.batch_size), like, recipe.init_from, fit)
        log.write(0, **online(found))

    def save(step: int, state: TrainState, proven: Callable[[], bool]) -> None:
        workdir.check_place()
        saved.save(step, state, meta | {"cursor": step * recipe.batch_size}, proven)

    loop = Loop(
        every, mesh, programs, stream, log, monitor, saved, stop, watchdog, online,
        lambda: check.last_healthy, recipe.health.action, ReplicaCheck(mesh, like), UsableCheck(like), save, found, step or 0,
    )  # fmt: skip
    stack.enter_context(bundle_on_divergence(workdir, setup, source, meta["data"], lambda: loop.state, mesh))
    return loop


def _with_noise(
    check: OnlineCheck, given: Given, recipe: Recipe, bad: BadRecords
) -> Callable[[TrainState], dict[str, Any]]:
    """The check, and the noise scale of the gradient of the run's first batch."""
    parts, setup, mesh = recipe.health.noise_parts, given.setup, given.mesh
    require(recipe.batch_size % parts == 0, "health.noise_parts", parts, f"a divisor of batch_size={recipe.batch_size}")
    measured = jax.jit(partial(gradient_noise, setup, parts=parts))
    with closing(batches_from(0, recipe, given.source, bad)) as stream:
        batch = place_batch(next(stream), batch_sharding(mesh))
    return lambda state: check(state) | {"gradient_noise_scale": float(measured(state, batch))}


def _told_shapes(recipe: Recipe, given: Given, batch: dict[str, jax.ShapeDtypeStruct]) -> TrainState:
    """Shapes and shardings of the state; how many parameters there are, and what attention computes with, is told."""
    say = _say()
    with flash_choices() as chosen:
        like = state_like(given.setup, batch, given.mesh, recipe.mesh.rules, recipe.mesh.offload)
    say(opening.parameters(like.params) + opening.frozen(like.extra))
    for name, reason in sorted(chosen):
        say("attention computes with %s: %s", name, reason)
    return like


def _kept(
    recipe: Recipe, workdir: Workdir, given: Given, saved: Checkpoints, like: TrainState, allow_data_change: bool
) -> tuple[int | None, TrainState | None, Identity]:
    """Step and state of the newest checkpoint, None where there is none, and whose the run is."""
    step = saved.latest_valid_step()
    if step is None:
        return None, None, new_owner(workdir.path)
    refuse_another_phase(given.stretch, step, saved.meta(step))
    state, owner = resumed(saved, like, given.meta, step, workdir, allow_data_change)
    if not recipe.phases:
        told_rate(saved.meta(step)["recipe"], recipe, len(given.records), state)
    _say()("resumed at step %d of %d", step, recipe.steps(len(given.records)))
    return step, state, owner


def tested_at_end(
    recipe: Recipe, setup: Setup, check: Callable[[TrainState], dict[str, Any]], state: TrainState
) -> dict[str, Any]:
    """What `check` finds and, after the last step, what the test says of what learned from labels."""
    last = int(state.step) == setup.total_steps
    return check(state) | (tested(recipe, setup.objective, state) if last else {})


def tested(recipe: Recipe, objective: Objective, state: TrainState) -> dict[str, float]:
    """`test_accuracy` and the like, of what learned from labels, on `data.test`; {} for others, and where there is none."""
    if not objective.labels or recipe.data.test is None:
        return {}
    with opening.timed(_say(), "testing on the records that were kept apart"):
        source, bad = recipe.data.test.build(), BadRecords(recipe.data.max_bad_fraction)
        objective.check_source(source)
        learned = as_learned(recipe, objective.augment, source)
        found = own_task(objective, as_state(state), learned, recipe.seed, label=recipe.evaluate.label, bad=bad)
    return {f"test_{name}": value for name, value in found.items() if name != "n_test"}


def _tell_the_end(loop: Loop, total: int, bad: BadRecords) -> None:
    if bad.count:
        logger.warning("%d records could not be read and were replaced; see %s", bad.count, bad.path)
    if loop.step < total and not loop.ended:
        place = "stopped by %s at step %d of %d; the same command resumes there"
        logger.warning(place, loop.stop.reason, loop.step, total)


def _lost_at_most(every: int, total: int) -> int:
    """Fewer steps than this a run that is killed has to do again: those since a checkpoint that was whole when the next one
    was being written, and the one after it was due."""
    return min(2 * every + 1, total) if every else total


def batch_like(source: Any, batch_size: int, bad: BadRecords) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of a global batch, from the first record that can be read."""
    return records_of(source, bad).batch(batch_size)


def state_like(
    setup: Setup,
    batch: dict[str, jax.ShapeDtypeStruct],
    mesh: jax.sharding.Mesh,
    rules: Any = (),
    offload: str = "none",
) -> TrainState:
    """Shapes and shardings of the state on `mesh`, without computing anything."""
    shapes = jax.eval_shape(partial(init_state, setup), batch)
    shardings = state_shardings(shapes, mesh, rules, offload=offload)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings)


def initialised(
    setup: Setup,
    batch: dict[str, jax.ShapeDtypeStruct],
    like: TrainState,
    init_from: InitFrom,
    fit: Callable[[State], State] = as_it_is,
) -> TrainState:
    """The state before the first step, on the shardings of `like`: drawn, then as `fit` makes it; with the arrays of another run
    or of public weights, if named."""
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), batch)
    state = jax.jit(partial(init_state, setup), out_shardings=jax.tree.map(lambda x: x.sharding, like))(zeros)
    state = state._replace(**fit(as_state(state))._asdict())
    if init_from.given:
        state = _started_from(init_from, setup, state, like)
    return jax.block_until_ready(state)  # here a lack of memory is an exception; where a value is read, jax aborts


def _started_from(init_from: InitFrom, setup: Setup, fresh: TrainState, like: TrainState) -> TrainState:
    """The fresh state with another run's parameters, each where training has it."""
    objective = setup.objective
    filled = initialised_from(init_from, objective, fresh._replace(**objective.whole(as_state(fresh))._asdict()))
    out = jax.tree.map(lambda x: x.sharding, as_state(like))
    parted = jax.jit(objective.parted, out_shardings=out)(
        as_state(filled), jax.random.fold_in(jax.random.key(setup.seed), 3)
    )
    return fresh._replace(**parted._asdict())


def as_state(state: TrainState) -> State:
    """What of it an objective knows."""
    return State(state.params, state.extra)


def batches_from(
    step: int, recipe: Recipe, source: Any, bad: BadRecords
) -> Generator[dict[str, np.ndarray], None, None]:
    """This process's share of the recipe's batches, from that of `step` on."""
    return batches(
        source, seed=recipe.seed, batch_size=recipe.batch_size, start_step=step, bad=bad,
        process_index=jax.process_index(), process_count=jax.process_count(),
        threads=recipe.data.threads, workers=recipe.data.workers, prefetch=recipe.data.prefetch,
        drop_last=recipe.data.drop_last,
    )  # fmt: skip


def compiled(setup: Setup, count: int, like: TrainState) -> Any:
    """The jitted step (`count` of them in one dispatch), with the state donated and its shardings pinned."""
    step = train_step if count == 1 else train_steps
    out = (jax.tree.map(lambda x: x.sharding, like), None)
    return jax.jit(partial(step, setup), donate_argnums=0, out_shardings=out)


def resumed(
    checkpoints: Checkpoints,
    like: TrainState,
    meta: dict[str, Any],
    step: int,
    workdir: Workdir,
    allow_data_change: bool,
) -> tuple[TrainState, Identity]:
    """The state of `step`, and whose it is: the checkpoint was found to be of this run, this step and this recipe."""
    saved = checkpoints.meta(step)
    owner = owner_on_resume(workdir.path, workdir.config, step, saved)
    state = restored(checkpoints, like, meta, step, allow_data_change)
    refuse_another_count(workdir.path / "checkpoints" / str(step), step, saved, lambda: int(state.step))
    return state, owner


def told_rate(saved: str, recipe: Recipe, num_examples: int, state: TrainState) -> None:
    """Say how the learning rate goes on where the recipe is another than the one `saved` beside the state."""
    before = rate.plan_before(saved, recipe, num_examples)
    if before is not None:
        step, updates = int(state.step), int(state.step - state.skipped)
        text, jumps = rate.told(before, rate.plan_of(recipe, num_examples), step, updates)
        if text:
            logger.log(logging.WARNING if jumps else logging.INFO, "%s", text)


def restored(
    checkpoints: Checkpoints, like: TrainState, meta: dict[str, Any], step: int, allow_data_change: bool = False
) -> TrainState:
    """The state of `step`, after checking that the data and the batch size are those it was trained with.

    Losses of another recipe or other data are no measure of a spike: `window` is then empty.
    """
    saved = checkpoints.meta(step)
    if saved["data"] != meta["data"] and allow_data_change:
        logger.warning(
            "data changed on resume: %s -> %s; the order of examples is another one", saved["data"], meta["data"]
        )
    remedies = {"data": "restore the data, add --allow-data-change", "batch_size": "restore the batch size"}
    for key, remedy in remedies.items():
        if saved[key] != meta[key] and not (key == "data" and allow_data_change):
            raise UserError(
                f"the checkpoint was trained with {key}={saved[key]}, this run has {meta[key]}: "
                f"the order of examples would change; {remedy}, or start in another --workdir"
            )
    state = checkpoints.restore(like, step)
    changed = trained_differently(from_json(saved["recipe"]), from_json(meta["recipe"]))
    if changed or saved["data"] != meta["data"]:
        logger.warning("the spike rule forgets earlier losses, since %s changed", ", ".join(changed) or "the data")
        state = state._replace(
            window=jax.jit(spikes.empty, out_shardings=jax.tree.map(lambda x: x.sharding, like.window))()
        )
    return state
