"""`ssl-jax finetune`."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ssl_jax.commands.shared.cpu_devices import pretend_cpu_devices
from ssl_jax.commands.shared.options import add_config, add_workdir, path_of
from ssl_jax.commands.shared.recipe import allowed, checked
from ssl_jax.commands.shared.training import add_processes, add_resuming, join, trained
from ssl_jax.errors import UserError

ABOUT = "learn labels from a pretrained encoder, all or a part of it; starting again with the same directory resumes"
EXAMPLE = "ssl-jax finetune --from runs/x --data folder:/photos --workdir runs/y --config.optimizer.lr=5e-4"
SCRATCH = "none"

Plain = dict[str, Any]


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    parser.add_argument(
        "--from",
        dest="source",
        type=path_of,
        metavar="DIR|PATH|none",
        help="a run or a weight file to start from; none: from scratch",
    )
    add_config(parser)
    add_workdir(parser, "the run directory; created, or resumed")
    add_resuming(parser)
    add_processes(parser)


def run(arguments: Namespace) -> None:
    """Compose a recipe of the pretrained run's and of what the user says, then train."""
    if arguments.source is None:
        raise UserError("finetune needs --from DIR, a run directory, or --from none. See ssl-jax finetune --help")
    if arguments.cpu_devices is not None:
        pretend_cpu_devices(arguments.cpu_devices)
    notes: list[str] = []
    allow = allowed(arguments.allow)
    config = composed(arguments, notes.append)
    recipe = checked(arguments, config, allow)
    join(arguments)
    trained(arguments, config, recipe, notes)


def composed(arguments: Namespace, say: Callable[[str], None]) -> Any:
    """The ConfigDict that is run, complete, with overrides and as many classes as the data has."""
    from ml_collections import ConfigDict

    from ssl_jax.recipe.loading import overridden
    from ssl_jax.recipe.parsing import complete, parse
    from ssl_jax.recipe.sources import with_sources

    recipe = complete(with_sources(_started(arguments, _named(arguments, say), say), say))
    if arguments.data:
        recipe["data"] = {**recipe["data"], **_data(arguments.data, recipe, say)}
    recipe = with_classes(overridden(recipe, arguments.overrides, say))
    parse(recipe)
    return ConfigDict(recipe)


def _named(arguments: Namespace, say: Callable[[str], None]) -> Plain | None:
    """The recipe of --config, None where none is given."""
    from ssl_jax.recipe import load
    from ssl_jax.recipe.values import plain

    if arguments.config is None:
        return None
    recipe = plain(load(arguments.config, (), say))
    if not str(recipe["objective"].get("target")).endswith(":Finetune"):
        raise UserError(
            f"--config {arguments.config} has the objective {recipe['objective'].get('target')}, which learns no labels; "
            "name a recipe with ssl_jax.objectives.finetune:Finetune, such as finetune_vit_fewlabels, or none"
        )
    return recipe


def _started(arguments: Namespace, recipe: Plain | None, say: Callable[[str], None]) -> Plain:
    """The recipe, of the model and with the parameters that --from says."""
    from ssl_jax.recipe.fragments.finetune import of_pretrained, plain_finetuning

    if arguments.source == SCRATCH:
        if recipe is None:
            raise UserError("--from none: there is no model to train from scratch; add --config RECIPE, which has one")
        return recipe
    if not _is_run(arguments.source):
        return _of_weights(arguments.source, recipe)
    before = _pretrained(arguments.source)
    if recipe is None:
        if before["data"].get("probe") is None and not arguments.data:
            raise UserError(
                f"--from {arguments.source}: its recipe has no labelled data.probe; name records in --data SRC"
            )
        recipe = plain_finetuning(before)
    return of_pretrained(
        recipe, before, os.path.abspath(arguments.source) if "://" not in arguments.source else arguments.source
    )


def _is_run(source: str) -> bool:
    """Whether it is the address of a run: in a store, or a folder with a recipe and checkpoints, or none that is there."""
    path = Path(source)
    return "://" in source or not path.exists() or (path / "checkpoints").is_dir()


def _of_weights(path: str, recipe: Plain | None) -> Plain:
    """The recipe with the encoder of public weights: their model, and pixels as they were trained on."""
    from ssl_jax.interop.importing import imported

    if recipe is None:
        raise UserError(f"--from {path}: weights do not say what views to learn from; add --config RECIPE")
    found = imported(path)
    kept = {key: recipe["model"][key] for key in ("drop_path", "remat", "dtype", "adapter") if key in recipe["model"]}
    return {
        **recipe,
        "model": {**found.model, **kept},
        "augment": {**recipe["augment"], **found.pixels} | ({"size": found.size} if found.size else {}),
        "init_from": {**recipe.get("init_from", {}), "weights": os.path.abspath(path)},
    }


def _pretrained(folder: str) -> Plain:
    """The recipe of a run directory. UserError where there is none."""
    from ssl_jax.recipe.parsing import complete
    from ssl_jax.recipe.renames import with_added_keys
    from ssl_jax.recipe.values import plain, read_config
    from ssl_jax.remote.opening import reading
    from ssl_jax.rundir.workdir import existing

    with reading(folder, None) as found:
        return complete(with_added_keys(plain(read_config(existing(Path(found)) / "config.json"))))


def _data(text: str, recipe: Mapping[str, Any], say: Callable[[str], None]) -> Plain:
    """The places of the section `data` that --data fills. UserError for records without labels."""
    from ssl_jax.recipe.sources import usual_options
    from ssl_jax.recipe.splits import splits_of

    found = splits_of(text, usual_options(recipe), "--data", say)
    if found.test is None:
        raise UserError(
            f"--data {text}: these records have no labels, or too few to hold some out for a test; name others"
        )
    return {"pretrain": found.pretrain, "probe": found.probe, "test": found.test, "examples": None}


def with_classes(recipe: Plain) -> Plain:
    """The recipe, whose objective has as many classes as the data where it says 0."""
    from ssl_jax.evaluate.run import classes_of
    from ssl_jax.recipe.component import Component
    from ssl_jax.recipe.slots import SOURCE

    objective = recipe["objective"]
    if objective.get("classes", 0):
        return recipe
    options = dict(recipe["data"]["pretrain"])
    source = Component(options.pop("target"), options, "data.pretrain", slot=SOURCE).build()
    count = classes_of(source, objective.get("label", "label"))
    return {**recipe, "objective": {**objective, "classes": count}}
