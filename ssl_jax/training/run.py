"""The trainer: from a recipe to a run. It knows no objective by name and no modality.

`init_state` and `train_step` are pure (`step.py`); `run` adds the effects: data in, metrics out, checkpoints and checks at
their intervals. The loop never waits for the device between two checks: metrics are fetched one dispatch late.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import jax
import numpy as np

from ssl_jax.checkpoint.store import Checkpoints
from ssl_jax.data.fit import check_records, check_scales
from ssl_jax.data.pipeline import BadRecords, batches
from ssl_jax.data.units import units
from ssl_jax.devices.agreement import comparing, modules, places
from ssl_jax.devices.distributed import is_first, lost_peers_explained
from ssl_jax.devices.fatal import fatal_signals_told
from ssl_jax.devices.memory import out_of_memory_explained
from ssl_jax.devices.mesh import batch_sharding, check_batch, make_mesh, place_batch, state_shardings
from ssl_jax.devices.replicas import ReplicaCheck
from ssl_jax.devices.signals import stop_requests
from ssl_jax.devices.watchdog import Watchdog
from ssl_jax.errors import UserError
from ssl_jax.evaluate.online import OnlineCheck
from ssl_jax.models.attention import flash_choices
from ssl_jax.objectives.base import Objective
from ssl_jax.optim import optimizers
from ssl_jax.recipe import InitFrom, Recipe, from_json, to_json
from ssl_jax.rundir.identity import Identity
from ssl_jax.rundir.log import MetricsLog, NoLog, logger, read_metrics
from ssl_jax.rundir.workdir import Workdir
from ssl_jax.training import opening, rate, spikes
from ssl_jax.training.crash import bundle_on_divergence
from ssl_jax.training.init_from import initialised_from
from ssl_jax.training.monitor import Monitor
from ssl_jax.training.ownership import new_owner, owner_on_resume, refuse_another_count, trained_differently
from ssl_jax.training.records import records_of
from ssl_jax.training.step import Setup as Setup
from ssl_jax.training.step import TrainState as TrainState
from ssl_jax.training.step import init_state as init_state
from ssl_jax.training.step import train_step as train_step
from ssl_jax.training.step import train_steps as train_steps
from ssl_jax.training.usable import UsableCheck


def build_objective(recipe: Recipe) -> Objective:
    """The objective that the recipe names, with its encoder and augmentation."""
    return recipe.objective.build(encoder=recipe.model.build(), augment=recipe.augment.build())


def build(recipe: Recipe, num_examples: int) -> Setup:
    """Everything the step needs, for a source of `num_examples` records."""
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
    optimizer, lr = optimizers.from_recipe(section, recipe.schedule, peak, total, warmup, groups, encoders, allow)
    return Setup(
        objective, optimizer, recipe.seed, total, section.accumulation, section.gradient_cache,
        section.skip_spikes, section.max_nonfinite_steps, lr,
    )  # fmt: skip


def run(recipe: Recipe, workdir: Workdir, allow_data_change: bool = False) -> TrainState:
    """Train, or resume, in an open run directory; returns the final state, or that of the step where it was told to stop.

    Raises UserError for what the user can fix: sizes that do not fit the mesh, other data than the checkpoint's (unless
    `allow_data_change`), too many unreadable records, a loss that stays non-finite, checkpoints that cannot be saved, memory
    that does not suffice, a device that computes wrongly.
    """
    with Watchdog(recipe.watch.hang_seconds, recipe.watch.startup_seconds) as watchdog:
        return _run(recipe, workdir, allow_data_change, watchdog)


def _run(recipe: Recipe, workdir: Workdir, allow_data_change: bool, watchdog: Watchdog) -> TrainState:
    say = logger.info if is_first() else logger.debug
    say("reading the records of %s", recipe.data.pretrain.target.rpartition(":")[2])
    with comparing("data and code") as facts:
        source = recipe.data.pretrain.build()
        fingerprint = source.fingerprint()
        say(opening.data(source))
        setup = build(recipe, len(source))
        facts |= {"records": len(source), "fingerprint of the data": fingerprint, "total steps": setup.total_steps}
        facts |= {"--allow-data-change": allow_data_change} | modules(recipe.objective.allow)
    say(opening.plan(recipe.batch_size, setup.total_steps, len(source)))
    for warning in setup.objective.warnings(recipe.batch_size):
        logger.warning(warning)
    mesh = make_mesh(recipe.mesh.data, recipe.mesh.fsdp, recipe.mesh.tensor)
    say(opening.devices(mesh))
    for place in places():
        say(place)
    check_batch(recipe.batch_size, mesh, max(setup.accumulation, setup.gradient_cache))
    meta = {"data": fingerprint, "batch_size": recipe.batch_size, "recipe": to_json(workdir.config)}
    if is_first():
        facts = {"data": meta["data"], "records": len(source), "processes": jax.process_count()}
        workdir.record_devices(jax.devices(), mesh=dict(mesh.shape), **facts)
    steps = partial(recipe.duration, num_examples=len(source))
    save, check, compare = steps(recipe.checkpoint.every), steps(recipe.evaluate.every), steps(recipe.watch.replicas)
    per_dispatch, total = recipe.mesh.steps_per_dispatch, setup.total_steps

    with jax.set_mesh(mesh), ExitStack() as stack:
        stack.enter_context(lost_peers_explained())
        log = _log(workdir, total, recipe.log.tensorboard)
        stack.enter_context(log)
        stop = stack.enter_context(stop_requests())
        section = recipe.checkpoint
        saved = Checkpoints(
            workdir.path / "checkpoints", section.keep, steps(section.keep_every), section.max_failures,
            in_place=workdir.check_place,
        )  # fmt: skip
        stack.enter_context(closing(saved))
        own = "" if is_first() else f".{jax.process_index()}"
        bad = BadRecords(recipe.data.max_bad_fraction, workdir.path / f"bad_records{own}.jsonl")
        stack.enter_context(fatal_signals_told(workdir.path / f"train{own}.log"))
        check_records(setup.objective.augment, source, bad)
        records = records_of(source, bad)
        meta |= {"records": records.to_meta()}
        one = records.batch(recipe.batch_size)
        with flash_choices() as chosen:
            like = state_like(setup, one, mesh, recipe.mesh.rules, recipe.mesh.offload)
        say(opening.parameters(like.params))
        for name, reason in sorted(chosen):
            say("attention=flash computes with %s: %s", name, reason)
        say("everything is written to %s", workdir.path)
        stack.enter_context(out_of_memory_explained(recipe, like))
        start = saved.latest_valid_step()
        found, owner = None, new_owner(workdir.path)
        if start is not None:
            found, owner = resumed(saved, like, meta, start, workdir, allow_data_change)
            told_rate(saved.meta(start)["recipe"], recipe, len(source), found)
            say("resumed at step %d of %d", start, total)
        meta |= {"run": owner.name}
        if is_first():
            workdir.accept(owner)
        log.cut_back(-1 if start is None else start, _lost_at_most(save, total))
        step = start or 0
        stream = stack.enter_context(closing(batches_from(step, recipe, source, bad)))
        counted = partial(units, setup.objective.augment)
        monitor = Monitor(log, recipe, saved.age, max(1, steps(recipe.log.every)), counted)
        check_of = OnlineCheck(recipe, setup.objective, read_metrics(workdir.path))
        check_scales({"pretrain": source, "probe": check_of.source})
        online = opening.first_timed(say, "compiling and making the first check of the features", check_of)
        replicas, usable = ReplicaCheck(mesh, like), UsableCheck(like)
        step_of = {n: opening.first_timed(say, opening.program(n), compiled(setup, n, like)) for n in {per_dispatch, 1}}
        if found is None:
            with opening.timed(say, "compiling and drawing the parameters"):
                state = initialised(setup, one, like, recipe.init_from)
            log.write(0, **online(state))
        else:
            state = found
        stack.enter_context(bundle_on_divergence(workdir, setup, source, meta["data"], lambda: state, mesh))

        ran: set[int] = set()
        owed = False  # a checkpoint that is due
        while step < total:
            count = per_dispatch if step + per_dispatch <= total else 1
            watchdog.beat(step, "data")
            batch = monitor.timed(lambda: stacked(stream, count))  # noqa: B023 (called at once)
            watchdog.beat(step, "step" if count in ran else "compile")
            state, metrics = step_of[count](state, place_batch(batch, batch_sharding(mesh, steps_axis=count > 1)))
            ran.add(count)
            before, step = step, step + count
            monitor.push(step, count, metrics, batch)
            saved.poll()
            stopping = stop.requested()
            last = step == total or stopping
            owed = owed or _due(save, before, step)
            if last or owed:
                monitor.flush()
            saving = last or (owed and monitor.applied)  # parameters that the last loss was not finite with can wait
            if step == total or _due(check, before, step):
                watchdog.beat(step, "check")
                monitor.flush()
                log.write(step, **monitor.health(online(state)))
            if saving or _due(compare, before, step):
                watchdog.beat(step, "check")
                replicas(state)  # before every save, so that none is made of copies that differ
            if saving:
                usable(state)
                watchdog.beat(step, "save")
                log.sync()
                workdir.check_place()
                saved.save(step, state, meta | {"cursor": step * recipe.batch_size})
                owed = False
            if stopping:
                break
        saved.finish()
        if bad.count:
            logger.warning("%d records could not be read and were replaced; see %s", bad.count, bad.path)
        if step < total:
            logger.warning("stopped by %s at step %d of %d; the same command resumes there", stop.reason, step, total)
    return state


def _lost_at_most(every: int, total: int) -> int:
    """Fewer steps than this a run that is killed has to do again: those since a checkpoint that was whole when the next one
    was being written, and the one after it was due."""
    return min(2 * every + 1, total) if every else total


def _log(workdir: Workdir, total: int, tensorboard: bool) -> MetricsLog | NoLog:
    return MetricsLog(workdir, total, tensorboard) if is_first() else NoLog(total)


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
    setup: Setup, batch: dict[str, jax.ShapeDtypeStruct], like: TrainState, init_from: InitFrom
) -> TrainState:
    """The state before the first step, on the shardings of `like`; with the parameters of another run, if one is named."""
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), batch)
    state = jax.jit(partial(init_state, setup), out_shardings=jax.tree.map(lambda x: x.sharding, like))(zeros)
    if init_from.workdir:
        state = initialised_from(init_from, setup.objective, state)
    return jax.block_until_ready(state)  # here a lack of memory is an exception; where a value is read, jax aborts


def batches_from(
    step: int, recipe: Recipe, source: Any, bad: BadRecords
) -> Generator[dict[str, np.ndarray], None, None]:
    """This process's share of the recipe's batches, from that of `step` on."""
    return batches(
        source, seed=recipe.seed, batch_size=recipe.batch_size, start_step=step, bad=bad,
        process_index=jax.process_index(), process_count=jax.process_count(),
        threads=recipe.data.threads, prefetch=recipe.data.prefetch,
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


def stacked(stream: Iterator[dict[str, np.ndarray]], count: int) -> dict[str, np.ndarray]:
    """The next batch, or the next `count` batches stacked along a new axis 0."""
    if count == 1:
        return next(stream)
    several = [next(stream) for _ in range(count)]
    return {k: np.stack([b[k] for b in several]) for k in several[0]}


def _due(every: int, before: int, after: int) -> bool:
    return bool(every) and after // every > before // every
