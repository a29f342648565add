"""Start a run from another run's parameters: the next stage of a method, at another size or with another loss.

What is trained, student and teacher, has to be the same tree. Learned positions may have another grid: they are resampled
as the encoder resamples them for another resolution, so that the first step sees what the last one left. The rest of the
state (centres, queues, statistics) comes along where it fits and starts anew where it does not. Step, schedules and the
optimiser's moments start from the beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from math import isqrt
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.checkpoint.store import Checkpoints, named
from ssl_jax.errors import UserError
from ssl_jax.models.grid import resize_tokens
from ssl_jax.models.vit import INTERPOLATION_OFFSET
from ssl_jax.objectives.base import Objective
from ssl_jax.recipe import InitFrom
from ssl_jax.remote.opening import reading
from ssl_jax.rundir.log import logger
from ssl_jax.rundir.workdir import existing
from ssl_jax.training.ownership import refuse_another_count, refuse_foreign
from ssl_jax.training.step import TrainState

Shapes = Mapping[str, tuple[tuple[int, ...], str]]  # name -> shape and dtype
TRAINED = ("params.", "extra.teacher.")
ENCODER = ("params.encoder.", "extra.batch_stats.encoder.")


def initialised_from(section: InitFrom, objective: Objective, state: TrainState) -> TrainState:
    """`state`, fresh, with parameters and extra state of the checkpoint that `section` names.

    Raises:
      UserError: no such run or step, one that is another's, or trees that differ, with the first differences.
    """
    with (
        reading(section.workdir, section.step) as folder,
        closing(Checkpoints(existing(folder) / "checkpoints", read_only=True)) as checkpoints,
    ):
        step = checkpoints.step_or_newest(section.step)
        meta = checkpoints.meta(step)
        refuse_foreign(folder, step, meta)
        saved, fresh = checkpoints.shapes(step), named({"params": state.params, "extra": state.extra})
        wanted = {name: (tuple(x.shape), str(x.dtype)) for name, x in fresh.items()}
        encoder_alone = bool(objective.labels)  # it has a head of its own
        saved = {k: v for k, v in saved.items() if k in wanted and k.startswith(ENCODER)} if encoder_alone else saved
        must = {k: v for k, v in wanted.items() if k.startswith(ENCODER)} if encoder_alone else wanted
        refuse_differences(section.workdir, step, saved, must)
        taken = [name for name in wanted if fits(name, saved.get(name), wanted[name])]
        like = {name: _like(fresh[name], saved[name][0]) for name in taken}
        refuse_another_count(
            folder / "checkpoints" / str(step), step, meta,
            lambda: int(checkpoints.read(step, {"step": _like(state.step, ())})["step"]),
        )  # fmt: skip
        values = checkpoints.read(step, like)
    resized = [name for name in taken if saved[name] != wanted[name]]
    anew = [name for name in wanted if name not in values]
    values |= {name: _resized(values[name], fresh[name]) for name in resized}
    logger.info(
        "starting from step %d of %s: %d arrays taken; resampled: %s; started anew: %s",
        step, section.workdir, len(taken), ", ".join(resized) or "none", ", ".join(anew) or "none",
    )  # fmt: skip
    leaves = [values.get(name, x) for name, x in fresh.items()]
    tree = jax.tree.unflatten(jax.tree.structure({"params": state.params, "extra": state.extra}), leaves)
    entries = frozenset(name.split(".")[1] for name in anew if name.startswith("extra."))
    return state._replace(**objective.started_from(**tree, anew=entries)._asdict())


def refuse_differences(workdir: str | Path, step: int, saved: Shapes, wanted: Shapes) -> None:
    """UserError with a line for each difference unless all that is trained fits."""
    names = sorted(name for name in saved.keys() | wanted.keys() if name.startswith(TRAINED))
    show = lambda entry: f"{entry[1]}{list(entry[0])}" if entry else "absent"  # noqa: E731
    changed = [
        f"  {name}: there {show(saved.get(name))}, here {show(wanted.get(name))}"
        for name in names
        if not (name in wanted and fits(name, saved.get(name), wanted[name]))
    ]
    if changed:
        more = f"\n  and {len(changed) - 8} more" if len(changed) > 8 else ""
        raise UserError(
            f"init_from.workdir={workdir}: the parameters of step {step} do not fit this recipe:\n"
            + "\n".join(changed[:8]) + more
            + f"\nGive model and objective the sizes in {Path(workdir) / 'config.json'}, or start without init_from"
        )  # fmt: skip


def fits(name: str, saved: tuple[tuple[int, ...], str] | None, wanted: tuple[tuple[int, ...], str]) -> bool:
    """Whether a saved array can take its place: the same, or square tables of positions [N, D] of the same width."""
    if saved is None or saved == wanted:
        return saved is not None
    (rows, *width), (new_rows, *new_width) = saved[0] or (0,), wanted[0] or (0,)
    square = all(isqrt(n) ** 2 == n for n in (rows, new_rows))
    return name.endswith(".positions") and saved[1] == wanted[1] and len(width) == 1 and width == new_width and square


def _like(fresh: Array, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    if shape == fresh.shape:
        return jax.ShapeDtypeStruct(shape, fresh.dtype, sharding=fresh.sharding)
    mesh = getattr(fresh.sharding, "mesh", None)  # a table of positions: small enough to be everywhere
    everywhere = fresh.sharding if mesh is None else jax.NamedSharding(mesh, jax.P())
    return jax.ShapeDtypeStruct(shape, fresh.dtype, sharding=everywhere)


def _resized(table: Array, fresh: Array) -> Array:
    before, after = (isqrt(x.shape[0]) for x in (table, fresh))
    new = resize_tokens(table.astype(jnp.float32), (before, before), (after, after), INTERPOLATION_OFFSET)
    return jax.device_put(new.astype(fresh.dtype), fresh.sharding)
