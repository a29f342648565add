"""Which encoder a word of the command line names. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from ssl_jax.errors import UserError


class Spec(NamedTuple):
    """Where an encoder is: a run directory (None: the one at hand), and its name there (None: the recipe's)."""

    workdir: str | None
    name: str | None


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


def _is_place(word: str) -> bool:
    return "/" in word or os.path.exists(os.path.join(word, "config.json"))
