"""A recipe on data that the user names: `--data /photos` sets what is learnt from and, with labels, what it is tested on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_jax.data.look import Look, look
from ssl_jax.errors import UserError
from ssl_jax.recipe.component import Component
from ssl_jax.recipe.loading import overridden
from ssl_jax.recipe.slots import SOURCE
from ssl_jax.recipe.sources import AUDIO, CLIPS, PICTURES, SOUNDS, Options, Say, named, options_of, usual_options
from ssl_jax.recipe.splits import Splits, splits_of

WHERE = "--data"
_SIDE = 224  # of the square that a picture becomes while nobody has said one
_OWN = {*PICTURES, *SOUNDS, *CLIPS}  # options of a recipe's source that hold for another one


def pictures_in(text: str) -> Look:
    """What the pictures are that a string names to learn from. UserError where it names none."""
    if not text.startswith("mix:") and named(text, WHERE).scheme in AUDIO:
        raise UserError(
            f"{WHERE} {text} holds recordings, and what is chosen without --config is for pictures; name a recipe for audio, "
            "such as --config simclr_conv_speech"
        )
    source = _built(splits_of(text, {"size": _SIDE}, WHERE).pretrain)
    try:
        return look(source)
    except UserError as error:
        raise UserError(f"{WHERE} {text}: {error}. For records that are no pictures name a recipe: --config") from error


def learning_from(text: str, config: Mapping[str, Any], overrides: Sequence[str], say: Say) -> dict[str, Any]:
    """A plain recipe, complete with defaults, on the data that a string names, and then overridden.

    Where pictures do not lie as files there is nothing to be cropped on the host; where they have other channels than the recipe
    expects, they are normalised by its mean for all of them. What was found and decided is told to `say`.
    """
    splits = splits_of(text, _usual(config, overrides), WHERE, say)
    found = _looked(splits.pretrain, say)
    if found is not None:
        _refuse_other_records(text, config["augment"])
    on_data = _fitted({**config, "data": _data(config["data"], splits)}, found)
    return overridden(on_data, overrides, say)


def refuse_within(workdir: str, text: str) -> None:
    """UserError where a run would write its pictures among those that it learns from."""
    place = text.removeprefix("folder:").partition("?")[0]
    if os.path.isdir(place) and Path(workdir).resolve().is_relative_to(Path(place).resolve()):
        raise UserError(
            f"--workdir {workdir} lies in {WHERE} {text}, and what is written there would be learnt from; use another"
        )


def _refuse_other_records(text: str, augment: Mapping[str, Any]) -> None:
    """UserError where a recipe is for something else than pictures."""
    kind = str(augment.get("target", "")).removeprefix("ssl_jax.data.").partition(".")[0]
    if kind in ("text", "audio", "series", "video"):
        raise UserError(
            f"{WHERE} {text} holds pictures, and the recipe is for {kind}; leave --config out, or name one for images"
        )


def _usual(config: Mapping[str, Any], overrides: Sequence[str]) -> Options:
    """Options of the recipe's own source, whose squares are large enough for the views that `overrides` ask for."""
    views = [text for text in overrides if text.removeprefix("--config.").startswith("augment.")]
    usual = usual_options(overridden(config, views))
    own = _own(config["data"]["pretrain"])
    return usual | own | {"size": max(usual.get("size", 0), own.get("size", 0)) or _SIDE}


def _own(source: Any) -> Options:
    """What a source says of its pictures or clips."""
    return {key: value for key, value in options_of(source).items() if key in _OWN and value is not None}


def _data(section: Mapping[str, Any], splits: Splits) -> dict[str, Any]:
    return {**section, **splits._asdict(), "examples": None}


def _looked(pretrain: Options, say: Say) -> Look | None:
    """What the pictures are, told; None where records are something else."""
    try:
        found = look(_built(pretrain))
    except UserError:
        return None
    say(f"{WHERE}: {found.told()}")
    return found


def _fitted(config: dict[str, Any], found: Look | None) -> dict[str, Any]:
    """The recipe as pictures of such a kind need it."""
    if found is None:
        return config
    place = {} if found.encoded else {"crop": "device"}
    augment = config["augment"]
    means = {key: _for_channels(augment[key], found.channels) for key in ("mean", "std") if key in augment}
    return config | {"data": config["data"] | place, "augment": augment | means}


def _for_channels(values: Any, channels: int) -> Any:
    """One number for each channel, or their mean for all where there are others."""
    if not isinstance(values, tuple) or len(values) in (1, channels):
        return values
    return (round(sum(values) / len(values), 4),)


def _built(options: Options) -> Any:
    inner = {key: value for key, value in options.items() if key != "target"}
    return Component(options["target"], inner, WHERE, slot=SOURCE).build()
