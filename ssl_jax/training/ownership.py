"""Whose a checkpoint is: of this run, of the step that its directory is named after, of this recipe.

A directory can be copied, renamed, or outlive its config.json. So a checkpoint holds the name of its run, its cursor and its
recipe, and whoever reads it compares. What a checkpoint from before there were names does not say is told, and believed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.recipe import from_json
from ssl_jax.recipe.values import read_config
from ssl_jax.rundir.identity import Identity, identity, named
from ssl_jax.rundir.log import logger
from ssl_jax.rundir.workdir import another_recipe, differences

Changes = dict[str, tuple[str, str]]  # key -> (before, now)
Meta = Mapping[str, Any]  # what is saved beside a state

# Sections that do not say what is trained. Data is compared by its fingerprint, which options such as `threads` do not change.
ASIDE = ("checkpoint.", "data.", "evaluate.", "log.", "mesh.", "watch.")


class ForeignCheckpoint(UserError):
    """A checkpoint is not that of the run, the step or the recipe that its place says."""


def trained_differently(saved: Mapping[str, Any], now: Mapping[str, Any]) -> Changes:
    """What differs between two recipes of what is trained, and how."""
    return {key: pair for key, pair in differences(saved, now).items() if not key.startswith(ASIDE)}


def owner_on_resume(workdir: Path, config: Mapping[str, Any], step: int, meta: Meta) -> Identity:
    """Whose the run is from here on, its checkpoint of `step` being the one to go on from.

    Raises UserError for a checkpoint of another run, step or recipe (but for what this start or an earlier one allowed).
    """
    owner = identity(workdir)
    refused = _refused(workdir, step, meta, owner, config)
    # An older run does not say what it allowed: there config.json, which was compared already, is believed.
    believed = "run" not in meta and (workdir / "config.json").exists()
    if refused and not believed:
        raise another_recipe(f"{_folder(workdir, step)} was trained with another recipe", refused)
    name = owner.name or meta.get("run") or named()
    return Identity(name, owner.allow_change, owner.allowed).allowing(_changes(meta, config))


def new_owner(workdir: Path) -> Identity:
    """Whose a run is that has no checkpoint to go on from."""
    owner = identity(workdir)
    return Identity(owner.name or named(), owner.allow_change, owner.allowed)


def refuse_foreign(workdir: Path, step: int, meta: Meta) -> None:
    """For those who only read: UserError for a checkpoint in `workdir` of another run, step or recipe than it has."""
    config = workdir / "config.json"
    recipe = read_config(config) if config.exists() else None
    refused = _refused(workdir, step, meta, identity(workdir), recipe)
    if refused and "run" in meta:
        lines = "\n".join(f"  {key}: {saved} -> {now}" for key, (saved, now) in refused.items())
        raise ForeignCheckpoint(
            f"{config} is not the recipe that {_folder(workdir, step)} was trained with. It differs:\n{lines}\n"
            "Restore these values in it"
        )


def refuse_another_run(folder: Path, meta: Meta, name: str) -> None:
    """UserError if the checkpoint in `folder` says that it belongs to another run than `name`. Tells where one says nothing."""
    found = meta.get("run", "")
    if found and name and found != name:
        raise ForeignCheckpoint(
            f"{folder} belongs to another run ({found}; this one is {name}): it was copied here. Move it away and start "
            "again with the older one; to begin with another run's parameters use init_from.workdir"
        )
    if not found:
        logger.warning(
            "%s does not say which run it belongs to, as from an older version; it is taken for this one's", folder
        )
    elif not name:
        logger.warning(
            "%s says no more which run it holds; it is taken for run %s, as %s says", *_places(folder, found)
        )


def refuse_another_step(folder: Path, step: int, meta: Meta) -> None:
    """UserError if the cursor in `meta` is not that of `step`."""
    if "cursor" in meta and "batch_size" in meta and meta["cursor"] != step * meta["batch_size"]:
        raise _another_step(folder, f"{meta['cursor'] / meta['batch_size']:g}")


def refuse_another_count(folder: Path, step: int, meta: Meta, counted: Callable[[], int]) -> None:
    """UserError if the state itself `counted` other steps than `step`. Not asked where there is no cursor either."""
    if "cursor" in meta and (found := counted()) != step:
        raise _another_step(folder, str(found))


def _another_step(folder: Path, found: str) -> ForeignCheckpoint:
    return ForeignCheckpoint(
        f"{folder} holds the state of step {found}: it was copied or renamed. Move it away and start again: the newest of "
        "the others is used"
    )


def _refused(workdir: Path, step: int, meta: Meta, owner: Identity, config: Mapping[str, Any] | None) -> Changes:
    """What of `config` nobody allowed to differ from the checkpoint's; after it was asked for its run and its step."""
    refuse_another_run(_folder(workdir, step), meta, owner.name)
    refuse_another_step(_folder(workdir, step), step, meta)
    return {key: pair for key, pair in _changes(meta, config).items() if not owner.permits(key, pair[1])}


def _changes(meta: Meta, config: Mapping[str, Any] | None) -> Changes:
    return {} if config is None or "recipe" not in meta else trained_differently(from_json(meta["recipe"]), config)


def _places(folder: Path, name: str) -> tuple[Path, str, Path]:
    return folder.parent.parent / "env.json", name, folder


def _folder(workdir: Path, step: int) -> Path:
    return workdir / "checkpoints" / str(step)
