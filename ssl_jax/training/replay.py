"""`ssl-jax replay`: a crash bundle, computed again."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.checkpoint import manifest
from ssl_jax.checkpoint.manifest import CheckpointCorrupt
from ssl_jax.data.pipeline import BadRecords, examples
from ssl_jax.devices.mesh import batch_sharding, make_mesh, place_batch
from ssl_jax.errors import UserError
from ssl_jax.recipe import Recipe, parse
from ssl_jax.recipe.values import fits, read_config, read_json
from ssl_jax.rundir.identity import identity
from ssl_jax.training.crash import arrays, diagnosis, readable
from ssl_jax.training.phases import stretch_of, stretches
from ssl_jax.training.records import as_learned, records_of
from ssl_jax.training.reopen import shaped
from ssl_jax.training.step import TrainState

SHAPE = {
    "step": int,
    "skipped_before": int,
    "data": str,
    "mesh": {"data": int, "fsdp": int, "tensor": int},
    "ids": [int],
    "epochs": [int],
    "found": {"values": {str: str}, "nonfinite": {str: int}},
    "dtypes": {str: str},
    "run?": str,
    "files?": {str: {"size": int, "sha256": str}},
}  # of bundle.json
CLOSE = 1e-4  # a finite value counts as reproduced within this fraction: another mesh rounds differently


def replay(bundle: Path, allow: tuple[str, ...] = ()) -> tuple[str, bool]:
    """Compute the step of a crash bundle again; returns a report, and whether the same values were not finite (or spiked).

    Uses the recipe's mesh where it fits the devices that are here, and else one device. Raises UserError for a bundle that
    cannot be read and for other data than the run had.
    """
    record, recipe = _read(bundle, allow)
    stretch = stretch_of(stretches(recipe, _count(recipe)), record["step"])
    recipe = stretch.recipe
    source = recipe.data.pretrain.build()
    if source.fingerprint() != record["data"]:
        raise UserError(f"{bundle}: the data is not what the run was given (another fingerprint); restore it to replay")
    if len(record["ids"]) != recipe.batch_size or not all(0 <= i < len(source) for i in record["ids"]):
        raise UserError(f"{bundle}/bundle.json names records that the data does not have; bring it back from a copy")
    mesh = _mesh(recipe, record["mesh"])
    with jax.set_mesh(mesh):
        source = as_learned(recipe, recipe.augment.build(), source)
        setup, like = shaped(recipe, records_of(source, BadRecords(recipe.data.max_bad_fraction)), mesh, stretch.origin)
        state = _state(bundle, like, record)
        ids, epochs = (np.asarray(record[key], np.int64) for key in ("ids", "epochs"))
        batch = place_batch(examples(source, ids, epochs, BadRecords(0.0)), batch_sharding(mesh))
        found = readable(jax.device_get(jax.jit(partial(diagnosis, setup))(state, batch)))
    return _report(record, found)


def _count(recipe: Recipe) -> int:
    """Records of the recipe's own data, which say where its phases end."""
    return len(recipe.data.pretrain.build()) if recipe.phases else 1


def _read(bundle: Path, allow: tuple[str, ...]) -> tuple[dict[str, Any], Recipe]:
    remedy = f"; {bundle} is not a crash bundle: name a directory <workdir>/crash/step_K"
    record = read_json(bundle / "bundle.json", remedy)
    if not fits(record, SHAPE) or not _holds_together(record):
        raise UserError(f"{bundle / 'bundle.json'} is not what a run writes there; bring it back from a copy")
    _refuse_strays(bundle, record)
    return record, parse(read_config(bundle / "config.json"), allow=allow)


def _holds_together(record: dict[str, Any]) -> bool:
    """Whether counters and record numbers may be those of a step, and values are floats as `crash.readable` writes them."""
    counted = 0 < record["step"] < 2**31 and 0 <= record["skipped_before"] < 2**31
    try:
        return counted and len(record["ids"]) == len(record["epochs"]) and bool(_values(record["found"]))
    except (ValueError, OverflowError):
        return False


def _values(found: dict[str, Any]) -> dict[str, float]:
    return {name: float.fromhex(value) for name, value in found["values"].items()}


def _refuse_strays(bundle: Path, record: dict[str, Any]) -> None:
    """UserError for a file of another bundle, or a bundle in another run's directory. Older ones do not say."""
    try:
        manifest.compare(bundle, record.get("files", {}))
    except (CheckpointCorrupt, AttributeError, KeyError, TypeError) as error:  # the others: bundle.json was edited
        raise UserError(f"{bundle}: {error}; its files do not belong together. Bring it back from a copy") from error
    here, made_by = identity(bundle.absolute().parent.parent).name, record.get("run", "")
    if here and made_by and here != made_by:
        raise UserError(
            f"{bundle} was left by another run ({made_by}; this one is {here}): replay it where it comes from"
        )


def _mesh(recipe: Recipe, recorded: dict[str, int]) -> jax.sharding.Mesh:
    try:
        return make_mesh(recorded["data"], recorded["fsdp"], recorded["tensor"])
    except UserError:
        return make_mesh(devices=jax.devices()[:1])


def _state(bundle: Path, like: TrainState, record: dict[str, Any]) -> TrainState:
    """The state of the bundle on the mesh of `like`; the optimiser's part, which the loss does not depend on, is zero."""
    wanted = arrays(like)
    try:
        with np.load(bundle / "state.npz", allow_pickle=False) as stored:
            held = {k: stored[k] for k in stored.files}
    except Exception as error:  # zip, zlib and numpy have no common class of errors for a file that was changed
        raise UserError(f"{bundle}/state.npz cannot be read: {error}; bring it back from a copy") from error
    if {k: v.shape for k, v in held.items()} != {k: v.shape for k, v in wanted.items()}:
        raise UserError(f"{bundle}/state.npz does not hold the state of its config.json")
    try:
        types = {k: jnp.dtype(record["dtypes"][k]) for k in wanted}
        typed = {k: v if v.dtype == types[k] else v.view(types[k]) for k, v in held.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{bundle}/bundle.json does not hold the types of state.npz ({error})") from error
    if types != {k: v.dtype for k, v in wanted.items()}:
        raise UserError(f"{bundle}/bundle.json names other types than those of its config.json")
    placed = [jax.device_put(typed[name], leaf.sharding) for name, leaf in wanted.items()]
    counters = (record["step"] - 1, record["skipped_before"], 0)
    step, skipped, nonfinite = (jnp.asarray(value, jnp.int32) for value in counters)
    tree = jax.tree.unflatten(jax.tree.structure({"params": like.params, "extra": like.extra}), placed)
    return TrainState(step, skipped, nonfinite, tree["params"], tree["extra"], ())


def _report(record: dict[str, Any], found: dict[str, Any]) -> tuple[str, bool]:
    then = record["found"]
    lines = [f"step {record['step']}, {len(record['ids'])} examples", f"{'':24} {'in the run':>14} {'now':>14}"]
    same = {k: _same(then["values"].get(k), v) for k, v in found["values"].items()}
    for name, value in found["values"].items():
        lines.append(
            f"{name:24} {_number(then['values'].get(name)):>14} {_number(value):>14}"
            + ("" if same[name] else "  differs")
        )
    for name in sorted(then["nonfinite"].keys() | found["nonfinite"].keys()):
        lines.append(
            f"not finite in {name}: {then['nonfinite'].get(name, 0)} values in the run, {found['nonfinite'].get(name, 0)} now"
        )
    same_places = then["nonfinite"].keys() == found["nonfinite"].keys()
    reproduced = all(same.values()) and same_places
    return "\n".join([*lines, "reproduced" if reproduced else "not reproduced"]), reproduced


def _number(text: str | None) -> str:
    return "-" if text is None else f"{float.fromhex(text):.6g}"


def _same(then: str | None, now: str) -> bool:
    if then is None:
        return False
    a, b = float.fromhex(then), float.fromhex(now)
    return bool(np.isclose(a, b, rtol=CLOSE, atol=CLOSE * 1e-3, equal_nan=True))
