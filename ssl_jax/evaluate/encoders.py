"""The door to encoders: from what the user names to a module, its weights, and what they depend on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax

import ssl_jax
from ssl_jax.devices.agreement import digest, modules
from ssl_jax.errors import UserError
from ssl_jax.evaluate.online import encoder_named, names_of
from ssl_jax.evaluate.rows import Origin
from ssl_jax.objectives.base import Encoder
from ssl_jax.recipe.values import plain, read_config
from ssl_jax.rundir.workdir import existing
from ssl_jax.training.reopen import Opened, open_run

PACKAGE = Path(ssl_jax.__file__).parent
SECTIONS = ("model", "objective", "augment")  # of a recipe: what features depend on
ROOMS = ("models", "objectives", "data", "losses", "devices")  # whose code makes features


class Spec(NamedTuple):
    """Where an encoder is: a run directory (None: the one at hand), and its name there (None: the recipe's)."""

    workdir: str | None
    name: str | None


@dataclass(frozen=True)
class Found:
    """An encoder, its variables on the devices of `opened`, and what they depend on."""

    name: str
    encoder: Encoder
    variables: dict
    identity: Mapping[str, Any]
    opened: Opened


def spec_of(text: str) -> Spec:
    """What a word names: `student` an encoder of the run at hand, `runs/x` and `runs/x:teacher` those of another.

    A word with a `/`, or that is a folder with a run, is a run directory.
    """
    place, colon, name = text.rpartition(":")
    if colon and name.isidentifier() and _is_place(place):
        return Spec(place, name)
    return Spec(text, None) if _is_place(text) else Spec(None, text)


def run_and_names(workdir: str | None, specs: Sequence[str] | None) -> tuple[str, str | None]:
    """The run directory, and the names of its encoders, that `--workdir` and the words of `--encoder` name together.

    UserError where they name two runs, or none.
    """
    if specs is None and workdir is not None:
        return workdir, None
    found = [spec_of(word.strip()) for text in specs or () for word in text.split(",") if word.strip()]
    places = dict.fromkeys(place for place in (workdir, *(spec.workdir for spec in found)) if place is not None)
    if len({os.path.normpath(place) for place in places}) != 1:
        what = " and ".join(places) if places else "none"
        raise UserError(
            f"--workdir and --encoder name {what}; name one run, as --workdir runs/x or --encoder runs/x:teacher"
        )
    return next(iter(places)), ",".join(spec.name for spec in found if spec.name) or None


def encoder_from(
    spec: str | os.PathLike[str], step: int | None = None, allow: tuple[str, ...] = (), name: str | None = None
) -> Found:
    """The encoder that `spec` names: of a run directory, `runs/x` or `runs/x:teacher`, at `step` (default: the newest).

    Raises UserError for no run, no such checkpoint or encoder.
    """
    workdir, named = spec_of(os.fspath(spec))
    opened = open_run(existing(Path(workdir or os.fspath(spec))), step, allow)
    chosen = name or named or names_of(opened.recipe.evaluate.encoder)[0]
    encoder, origin = encoder_named(opened.objective, chosen), origin_of(opened)
    identity = {"code": origin.code, "encoder": chosen, "checkpoint": origin.checkpoint}
    return Found(chosen, encoder, encoder.variables(opened.state), identity, opened)


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


def _is_place(word: str) -> bool:
    return "/" in word or os.path.exists(os.path.join(word, "config.json"))
