"""Public weights on the user's data, with no training: `ssl-jax eval --encoder PATH --data SRC --out FOLDER`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from ssl_jax.data.bad import BadRecords
from ssl_jax.errors import UserError
from ssl_jax.evaluate.protocols import protocol_named
from ssl_jax.evaluate.run import Asked, evaluated, telling
from ssl_jax.evaluate.sources import probe_and_test
from ssl_jax.interop.importing import Imported, digest, imported
from ssl_jax.objectives.base import State
from ssl_jax.recipe import Recipe, parse
from ssl_jax.recipe.component import Component
from ssl_jax.recipe.loading import overridden
from ssl_jax.recipe.slots import SOURCE
from ssl_jax.recipe.splits import splits_of
from ssl_jax.recipe.values import as_config, to_json
from ssl_jax.rundir.log import logger
from ssl_jax.rundir.writing import own_folder, replace_file
from ssl_jax.training.records import records_of
from ssl_jax.training.reopen import Opened, mesh_here, shaped
from ssl_jax.training.run import initialised

SIZE = 224  # side of the pictures where the file does not say one
BESIDE = (
    "raw",
    "random",
)  # a supervised encoder of a published size is long work; --config.evaluate.baselines names it


def evaluate_weights(weights: str, asked: Asked, download: bool = False) -> str:
    """The table of an encoder of public weights on `asked.data`, written into the folder `asked.out`, with the recipe that says
    so. UserError for weights that see no pictures, and for data without labels."""
    if not asked.data or asked.out is None:
        raise UserError(
            f"--encoder {weights} are weights without data: add --data SRC, and --out FOLDER for the results"
        )
    named = None if asked.protocol is None else protocol_named(asked.protocol)
    with telling(own_folder(asked.out)) as status:
        found = imported(weights, download)
        config = overridden(as_config(config_of(found, asked.data, weights, download), "the recipe"), asked.overrides)
        recipe = parse(config, allow=asked.allow)
        replace_file(asked.out / "config.json", to_json(config))
        return evaluated(opened(recipe, asked.out, digest(found)), asked, named, *probe_and_test(recipe), status)


def opened(recipe: Recipe, folder: Path, digest: str) -> Opened:
    """The encoder as a run that was not trained; features that were kept are found again by the `digest` of the weights."""
    mesh = mesh_here(recipe)
    source: Any = recipe.data.pretrain.build()
    records = records_of(source, BadRecords(recipe.data.max_bad_fraction))
    with jax.set_mesh(mesh):
        setup, like = shaped(recipe, records, mesh)
        state = initialised(setup, records.batch(recipe.batch_size), like, recipe.init_from)
    return Opened(folder, recipe, setup, State(state.params, state.extra), 0, records, mesh, digest)


def config_of(found: Imported, data: str, weights: str, download: bool = False) -> dict[str, Any]:
    """A plain recipe: the encoder, how it sees the pictures of `data`, and their splits."""
    if not found.pixels or len(np.shape(found.model.get("patch", 1))):
        raise UserError(f"{weights} ({found.family.name}) sees no pictures; eval reads weights of pictures only")
    size = found.size or SIZE
    splits = splits_of(data, {"size": size}, say=logger.info)
    channels = channels_of(splits.pretrain)
    return {
        "seed": 0,
        "batch_size": jax.device_count() * 8,
        "total_steps": 1,
        "objective": {"target": "ssl_jax.objectives.frozen:Frozen"},
        "model": found.model,
        "augment": {
            "target": "ssl_jax.data.image.views:ImageViews",
            "size": size,
            "views": {"image": {}},
            **{key: for_channels(value, channels) for key, value in found.pixels.items()},
        },
        "data": {"pretrain": splits.pretrain, "probe": splits.probe, "test": splits.test},
        "evaluate": {"baselines": BESIDE},
        "init_from": {"weights": weights, "download": download},
    }


def channels_of(source: dict[str, Any]) -> int:
    """How many channels the pictures of a source have."""
    options = {key: value for key, value in source.items() if key != "target"}
    built: Any = Component(source["target"], options, "--data", slot=SOURCE).build()
    image = BadRecords(1.0).read(built, 0)[1].get("image")
    if image is None:
        raise UserError("--data has records without a field 'image'; eval reads weights of pictures only")
    return int(image.shape[-1])


def for_channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Statistics of red, green and blue for pictures of so many channels: their mean for each, where there are not three."""
    return values if channels == len(values) else (sum(values) / len(values),) * channels
