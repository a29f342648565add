"""The door to encoders: from what the user names to a module, its weights, and what they depend on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

import ssl_jax
from ssl_jax.devices.agreement import digest, modules
from ssl_jax.evaluate.online import encoder_named, names_of
from ssl_jax.evaluate.rows import Origin
from ssl_jax.evaluate.spec import spec_of
from ssl_jax.objectives.base import Encoder
from ssl_jax.recipe.values import plain, read_config
from ssl_jax.rundir.workdir import existing
from ssl_jax.training.reopen import Opened, open_run

PACKAGE = Path(ssl_jax.__file__).parent
SECTIONS = ("model", "objective", "augment")  # of a recipe: what features depend on
ROOMS = ("models", "objectives", "data", "losses", "devices")  # whose code makes features


@dataclass(frozen=True)
class Found:
    """An encoder, its variables on the devices of `opened`, and what they depend on."""

    name: str
    encoder: Encoder
    variables: dict
    identity: Mapping[str, Any]
    opened: Opened


def encoder_from(
    spec: str | os.PathLike[str], step: int | None = None, allow: tuple[str, ...] = (), name: str | None = None
) -> Found:
    """The encoder that `spec` names: of a run directory, `runs/x` or `runs/x:teacher`, at `step` (default: the newest).

    Raises UserError for no run, no such checkpoint or encoder.
    """
    workdir, named = spec_of(os.fspath(spec))
    opened = open_run(existing(Path(workdir or os.fspath(spec))), step, allow)
    return encoder_in(opened, name or named or names_of(opened.recipe.evaluate.encoder)[0])


def encoder_in(opened: Opened, name: str) -> Found:
    """The encoder of that name of a run that is open. UserError where it has none."""
    encoder, origin = encoder_named(opened.objective, name), origin_of(opened)
    identity = {"code": origin.code, "encoder": name, "checkpoint": origin.checkpoint}
    return Found(name, encoder, encoder.variables(opened.state), identity, opened)


def origin_of(opened: Opened) -> Origin:
    """What the features of a run's encoders depend on: the checkpoint, the recipe of what was trained, code and machine."""
    config = plain(read_config(opened.workdir / "config.json"))
    code = {
        "recipe": {section: config[section] for section in SECTIONS},
        "ssl_jax": digest(sorted(path for room in ROOMS for path in (PACKAGE / room).rglob("*.py"))),
        "jax": jax.__version__,
        "devices": jax.devices()[0].device_kind,
    }
    return Origin(opened.digest, code | modules(opened.recipe.objective.allow))
