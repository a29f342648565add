"""Start a run from parameters that are there: another run's, or public weights.

Of another run, what is trained, student and teacher, has to be the same tree. Learned positions may have another grid: they are
resampled as the encoder resamples them for another resolution, so that the first step sees what the last one left. The rest of
the state (centres, queues, statistics) comes along where it fits and starts anew where it does not. Where heads or the method
differ, the encoder alone is taken, its teacher equal to it, as from public weights. Step, schedules and the optimiser's moments
start from the beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from ssl_jax.checkpoint.store import Checkpoints, named
from ssl_jax.data.text.vocabulary import read_tokenizer, tokens_of
from ssl_jax.errors import UserError
from ssl_jax.interop.files import opened
from ssl_jax.interop.fitting import SPARE, Grids, fitted, grid_here, refuse_partial, resampled, some, square
from ssl_jax.interop.heads import heads
from ssl_jax.interop.importing import Imported, every, flat, imported
from ssl_jax.models.grid import Grid, sides
from ssl_jax.objectives.base import Objective
from ssl_jax.recipe import InitFrom
from ssl_jax.recipe.values import read_json
from ssl_jax.remote.opening import reading
from ssl_jax.rundir.log import logger
from ssl_jax.rundir.workdir import existing
from ssl_jax.training.ownership import refuse_another_count, refuse_foreign
from ssl_jax.training.step import TrainState

Shapes = Mapping[str, tuple[tuple[int, ...], str]]  # name -> shape and dtype
TRAINED = ("params.", "extra.teacher.")
STATS = "batch_stats/"
# Where an encoder of that name, and its BatchNorm statistics, are in a state: the student's, then the teacher's.
PLACES = ("params.{}.", "extra.teacher.{}.")
STATS_PLACES = ("extra.batch_stats.{}.", "extra.batch_stats.teacher.{}.")


def initialised_from(section: InitFrom, objective: Objective, state: TrainState) -> TrainState:
    """`state`, fresh, with what `section` names: parameters and extra state of a checkpoint, or the encoder of public weights.

    Raises:
      UserError: no such run, step or file, one that is another's or damaged, or an encoder that differs, with the first
        differences.
    """
    if section.weights:
        state = _from_all_weights(section, objective, state)
    elif section.workdir:
        state = _from_run(section, objective, state)
    for pair in section.towers:
        name, _, path = pair.partition("=")
        state = _tower_from(replace(section, module=name, towers=(), workdir="", weights=""), path, objective, state)
    return state


def _tower_from(section: InitFrom, path: str, objective: Objective, state: TrainState) -> TrainState:
    """One encoder from a run directory, or from weights."""
    if (Path(path) / "checkpoints").is_dir() or "://" in path:
        return _from_run(replace(section, workdir=path), objective, state, alone=True)
    return _from_weights(replace(section, weights=path), objective, state)


def _from_all_weights(section: InitFrom, objective: Objective, state: TrainState) -> TrainState:
    """The encoder that is named; where there are several, and none of that name, each that is of a kind with one in the file."""
    if section.module in objective.modules or not isinstance(objective.encoder, Mapping):
        return _from_weights(section, objective, state)
    kinds = {found.model["target"] for found in every(section.weights, section.download)}
    towers = [
        n for n, tower in objective.encoder.items() if f"{type(tower).__module__}:{type(tower).__name__}" in kinds
    ]
    if not towers:
        raise UserError(
            f"init_from.weights={section.weights}: its encoders are {', '.join(sorted(kinds))}, and none of "
            f"{', '.join(objective.encoder)} is; name one by init_from.module"
        )
    for name in towers:
        state = _from_weights(replace(section, module=name), objective, state)
    return _with_heads(section, objective, state)


def _with_heads(section: InitFrom, objective: Objective, state: TrainState) -> TrainState:
    """Heads and scale of a file with several towers, where they fit."""
    there, fresh = heads(opened(section.weights, section.download)), _named(state)
    names = {f"params.{path.replace('/', '.')}": x for path, x in there.items()}
    fit = {name: x for name, x in names.items() if name in fresh and fresh[name].shape == x.shape}
    logger.info(
        "init_from.weights=%s: heads taken: %s; left: %s", section.weights, some(fit), some(names.keys() - fit.keys())
    )
    return _started(objective, state, fit)


def _from_weights(section: InitFrom, objective: Objective, state: TrainState) -> TrainState:
    module = objective.modules.get(section.module)
    found: Imported = imported(section.weights, section.download, None if module is None else type(module))
    what = f"init_from.weights={section.weights} ({found.family.name})"
    _require_tokens(what, section.weights, _part(objective, section.module))
    remedy = f"Give model the options that `ssl-jax inspect {section.weights}` prints, or set init_from.partial=True"
    return _with_encoder(
        section,
        objective,
        state,
        flat(found.variables),
        found.model.get("grid"),
        (what, remedy),
        (found.left_over, found.beside),
    )


def _require_tokens(what: str, path: str, part: Any) -> None:
    """UserError where texts are written in other tokens than those of the `tokenizer.json` beside the weights."""
    beside = Path(path) / "tokenizer.json"
    if not beside.is_file() or not getattr(part, "there", False):
        return
    if tokens_of(read_tokenizer(str(beside))) != tokens_of(read_tokenizer(part.tokenizer)):
        raise UserError(
            f"{what}: these weights read the tokens of {beside}, and augment's tokenizer is {part.tokenizer!r}, which has "
            f"others: write the texts with that one (tokenizer={beside} of augment and of the sources)"
        )


def _part(objective: Objective, module: str) -> Any:
    """The augmentation of what a module is given."""
    return getattr(objective.augment, "parts", {}).get(module, objective.augment)


def _from_run(section: InitFrom, objective: Objective, state: TrainState, alone: bool = False) -> TrainState:
    """What fits of another run's state; `alone`: one encoder of it."""
    with (
        reading(section.workdir, section.step) as folder,
        closing(Checkpoints(existing(folder) / "checkpoints", read_only=True)) as checkpoints,
    ):
        step = checkpoints.step_or_newest(section.step)
        meta = checkpoints.meta(step)
        refuse_foreign(folder, step, meta)
        saved, fresh = checkpoints.shapes(step), _named(state)
        wanted = {name: (tuple(x.shape), str(x.dtype)) for name, x in fresh.items()}
        before = grid_of_run(folder)
        grids = {name: Grids(before, _grid(objective, name, wanted[name][0])) for name in wanted if _is_positions(name)}
        differ = differences(saved, wanted, grids)
        place = encoder_of(section, saved, wanted, grids) if differ or alone else None
        if (differ or alone) and place is None:
            refuse(section.workdir, step, differ)
        taken = (
            [name for name in wanted if fits(name, saved.get(name), wanted[name], grids.get(name))]
            if place is None
            else list(place.values())
        )
        like = {name: _like(fresh.get(name), saved[name]) for name in taken}
        refuse_another_count(
            folder / "checkpoints" / str(step), step, meta,
            lambda: int(checkpoints.read(step, {"step": _like(state.step, ((), "int32"))})["step"]),
        )  # fmt: skip
        values = checkpoints.read(step, like)
    if place is not None:
        arrays = {path: np.asarray(values[name]) for path, name in place.items()}
        logger.warning(
            "init_from.workdir=%s: what is around its encoder does not fit this recipe, so the encoder alone is taken; e.g. %s",
            section.workdir, next(iter(differ), "").strip(),
        )  # fmt: skip
        words = (f"init_from.workdir={section.workdir}", "Give model the sizes in its config.json")
        return _with_encoder(section, objective, state, arrays, before, words)
    resized = [name for name in taken if saved[name] != wanted[name]]
    anew = [name for name in wanted if name not in values]
    values |= {name: _resized(values[name], fresh[name], grids[name]) for name in resized}
    logger.info(
        "starting from step %d of %s: %d arrays taken; resampled: %s; started anew: %s",
        step, section.workdir, len(taken), ", ".join(resized) or "none", ", ".join(anew) or "none",
    )  # fmt: skip
    return _started(objective, state, values)


def _with_encoder(
    section: InitFrom,
    objective: Objective,
    state: TrainState,
    arrays: Mapping[str, np.ndarray],
    before: Grid | None,
    words: tuple[str, str],
    left: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
) -> TrainState:
    """The state with these arrays of an encoder, by path, in all its places: student and teacher start equal."""
    what, remedy = words
    name, fresh = section.module, _named(state)
    module = objective.modules.get(name)
    wanted = {path: tuple(fresh[full].shape) for path, full in _places(name, fresh).items()}
    if module is None or not wanted:
        known = ", ".join(objective.modules)
        raise UserError(f"init_from.module={name!r}: this objective has no such encoder; use one of {known}")
    rows = next((shape[0] for path, shape in wanted.items() if path.endswith("positions")), 0)
    grids = Grids(before, grid_here(module, _size(objective, name), rows))
    try:
        values, report = fitted(arrays, wanted, grids, getattr(module, "patch", 1))
    except UserError as error:
        raise UserError(f"{what}: {error}\n{remedy.partition(', or set')[0]}") from None
    report = report._replace(left_over=left[0], beside=left[1])
    if not section.partial:
        refuse_partial(report, what, remedy)
    logger.info("%s: %s", what, report.told())
    return _started(objective, state, {full: values[path] for path, full in _everywhere(name, fresh) if path in values})


def _started(objective: Objective, state: TrainState, values: Mapping[str, Any]) -> TrainState:
    """The state with these arrays by name, each placed as the one that it replaces."""
    fresh = _named(state)
    leaves = [_placed(values[name], x) if name in values else x for name, x in fresh.items()]
    tree = jax.tree.unflatten(jax.tree.structure({"params": state.params, "extra": state.extra}), leaves)
    entries = frozenset(name.split(".")[1] for name in fresh if name not in values and name.startswith("extra."))
    return state._replace(**objective.started_from(**tree, anew=entries)._asdict())


def _named(state: TrainState) -> dict[str, Any]:
    return named({"params": state.params, "extra": state.extra})


def _places(encoder: str, names: Mapping[str, Any], teacher: bool = False) -> dict[str, str]:
    """Path in an encoder -> the name of the array in a state: of the student, or of the teacher where it has one."""
    found: dict[str, str] = {}
    for form, before in ((PLACES[teacher], ""), (STATS_PLACES[teacher], STATS)):
        prefix = form.format(encoder)
        found |= {before + n.removeprefix(prefix).replace(".", "/"): n for n in names if n.startswith(prefix)}
    return found


def _everywhere(encoder: str, names: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [pair for teacher in (False, True) for pair in _places(encoder, names, teacher).items()]


def encoder_of(section: InitFrom, saved: Shapes, wanted: Shapes, grids: Mapping[str, Grids]) -> dict[str, str] | None:
    """Path in the encoder -> name in the other run, of its teacher where it has one, if all that this encoder needs fits."""
    here = _places(section.module, wanted)
    forms = ((name, teacher) for name in (section.module, "encoder") for teacher in (True, False))
    there = next(filter(None, (_places(name, saved, teacher) for name, teacher in forms)), {})
    pairs = {path: (there.get(path, ""), name) for path, name in here.items() if not SPARE.search(path)}
    whole = all(fits(name, saved.get(old), wanted[name], grids.get(name)) for old, name in pairs.values())
    extra = [path for path in there if path not in here and not SPARE.search(path)]
    return {path: there[path] for path in here if path in there} if pairs and whole and not extra else None


def differences(saved: Shapes, wanted: Shapes, grids: Mapping[str, Grids] = {}) -> list[str]:
    """A line for each array that is trained and does not fit."""
    names = sorted(name for name in saved.keys() | wanted.keys() if name.startswith(TRAINED))
    show = lambda entry: f"{entry[1]}{list(entry[0])}" if entry else "absent"  # noqa: E731
    return [
        f"  {name}: there {show(saved.get(name))}, here {show(wanted.get(name))}"
        for name in names
        if not (name in wanted and fits(name, saved.get(name), wanted[name], grids.get(name)))
    ]


def refuse(workdir: str | Path, step: int, changed: list[str]) -> None:
    """UserError with the first differences."""
    more = f"\n  and {len(changed) - 8} more" if len(changed) > 8 else ""
    raise UserError(
        f"init_from.workdir={workdir}: the parameters of step {step} do not fit this recipe:\n"
        + "\n".join(changed[:8]) + more
        + f"\nGive model and objective the sizes in {Path(workdir) / 'config.json'}, or start without init_from"
    )  # fmt: skip


def fits(
    name: str,
    saved: tuple[tuple[int, ...], str] | None,
    wanted: tuple[tuple[int, ...], str],
    grids: Grids | None = None,
) -> bool:
    """Whether a saved array can take its place: the same, or tables of positions [N, D] of the same width, on known grids."""
    if saved is None or saved == wanted:
        return saved is not None
    (rows, *width), (new_rows, *new_width) = saved[0] or (0,), wanted[0] or (0,)
    before, here = grids or Grids()
    before, here = before or square(rows), here or square(new_rows)
    known = before is not None and here is not None and (prod(before), prod(here)) == (rows, new_rows)
    return _is_positions(name) and saved[1] == wanted[1] and len(width) == 1 and width == new_width and known


def grid_of_run(folder: Path) -> Grid | None:
    """The grid of positions of the run in a folder, by its config.json; None where that does not say."""
    config = read_json(folder / "config.json")
    model, augment = ((config.get(key) or {}) if isinstance(config, dict) else {} for key in ("model", "augment"))
    if model.get("grid"):
        return tuple(model["grid"])
    size, patch = augment.get("size"), model.get("patch")
    if not isinstance(size, int | list) or not isinstance(patch, int | list):
        return None
    by = sides(patch if isinstance(patch, int) else tuple(patch))
    whole = (size,) * len(by) if isinstance(size, int) else tuple(size)
    return tuple(n // p for n, p in zip(whole, by, strict=True)) if len(whole) == len(by) else None


def _is_positions(name: str) -> bool:
    return name.endswith(".positions")


def _grid(objective: Objective, name: str, shape: tuple[int, ...]) -> Grid | None:
    """The grid here of the positions of that name."""
    key, module = next(((key, m) for key, m in objective.modules.items() if f".{key}." in name), ("", None))
    return None if module is None else grid_here(module, _size(objective, key), shape[0])


def _size(objective: Objective, module: str) -> tuple[int, ...] | None:
    """The size of what the augmentation gives to a module, if it has one."""
    size = getattr(_part(objective, module), "pixels", None)
    return tuple(size) if isinstance(size, tuple) else None


def _like(fresh: Any, saved: tuple[tuple[int, ...], str]) -> jax.ShapeDtypeStruct:
    shape, dtype = saved
    if fresh is not None and shape == fresh.shape:
        return jax.ShapeDtypeStruct(shape, fresh.dtype, sharding=fresh.sharding)
    return jax.ShapeDtypeStruct(shape, dtype, sharding=_everywhere_on(fresh))  # positions, or one encoder's arrays


def _everywhere_on(fresh: Any) -> Any:
    """The sharding of what is small enough to be on every device of the mesh."""
    sharding = getattr(fresh, "sharding", None)
    mesh = jax.sharding.get_mesh() if sharding is None else getattr(sharding, "mesh", None)
    if mesh is None or mesh.empty:
        return sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.NamedSharding(mesh, jax.P())


def _placed(value: Any, fresh: Array) -> Array:
    if isinstance(value, Array):
        return value
    made = np.asarray(value, fresh.dtype)
    return jax.make_array_from_callback(made.shape, fresh.sharding, lambda index: made[index])


def _resized(table: Array, fresh: Array, grids: Grids) -> np.ndarray:
    before, here = grids.before or square(table.shape[0]), grids.here or square(fresh.shape[0])
    found = resampled(np.asarray(table), before, here, fresh.shape[0])
    if found is None:
        raise ValueError(f"positions of {before} do not go to {here}")
    return found
