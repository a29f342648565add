"""`ssl-jax eval`: from a run directory to eval/<probe>.json and a table."""

from __future__ import annotations

from math import gcd
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from ssl_jax.checkpoint.store import Checkpoints
from ssl_jax.data.pipeline import BadRecords, once
from ssl_jax.devices.mesh import make_mesh
from ssl_jax.errors import UserError
from ssl_jax.evaluate import suite
from ssl_jax.evaluate.online import encoder_named
from ssl_jax.evaluate.own_task import own_task, with_own_task
from ssl_jax.evaluate.supervised import SupervisedFit
from ssl_jax.objectives.base import Objective, State
from ssl_jax.recipe import Recipe, from_json, parse
from ssl_jax.rundir.log import logger
from ssl_jax.training.run import batch_like, build, state_like


def evaluate_run(
    workdir: Path,
    probes: tuple[str, ...] | None = None,
    step: int | None = None,
    allow: tuple[str, ...] = (),
    encoder: str | None = None,
) -> str:
    """Probe the checkpoint of `step` (default: the newest), write eval/<probe>.json, and return the table.

    `probes` and `encoder` default to the recipe's; objectives from outside `ssl_jax` are imported only if `allow` names
    their package.
    """
    recipe = recipe_of(workdir, allow)
    if recipe.data.probe is None or recipe.data.test is None:
        raise UserError("the recipe has no data.probe and data.test; name labelled sources there to evaluate")
    objective, state, step = restore(workdir, recipe, step)
    name = encoder or recipe.evaluate.encoder
    chosen = encoder_named(objective, name)
    train, test = recipe.data.probe.build(), recipe.data.test.build()
    section, mesh = recipe.evaluate, mesh_here(recipe)
    settings = suite.Settings(
        probes=probes or section.probes,
        baselines=section.baselines,
        shots=section.shots,
        draws=section.draws,
        seed=recipe.seed,
        workers=section.workers if mesh.size == 1 else 1,  # threads would start collectives in any order
        supervised_examples=section.supervised_examples,
        supervised_few_examples=section.supervised_few_examples,
        target=section.target or None,
    )
    fit = SupervisedFit(recipe, classes_of(train))
    encoders = {name: (chosen, chosen.variables(state))}
    results = suite.evaluate(encoders, train, test, settings, fit=fit, step=step, say=logger.info, mesh=mesh)
    with jax.set_mesh(mesh):
        found = own_task(objective, state, test, recipe.seed, settings.batch_size)
    results = with_own_task(results, suite.row_of(name), found)
    suite.save(results, workdir)
    return suite.table(results)


def classes_of(source: Any, label: str = "label") -> int:
    """How many classes a labelled source has: the names it knows, or else its largest label plus one."""
    named = getattr(source, "classes", ())
    return len(named) or 1 + max(int(batch[label].max()) for batch, _ in once(source, min(1024, len(source))))


def recipe_of(workdir: Path, allow: tuple[str, ...] = ()) -> Recipe:
    """The recipe of a run directory: data, never executed."""
    file = Path(workdir) / "config.json"
    return parse(from_json(file.read_text(encoding="utf-8"), str(file)), allow=allow)


def mesh_here(recipe: Recipe) -> Mesh:
    """The devices that are here, which may be others than the run's: parameters are shared out as in training, over as many
    of them as divide; the remaining axis is `data`.
    """
    count = jax.device_count()
    tensor = gcd(recipe.mesh.tensor, count) if recipe.mesh.tensor > 0 else 1
    left = count // tensor
    return make_mesh(-1, left if recipe.mesh.fsdp == -1 else gcd(recipe.mesh.fsdp, left), tensor)


def restore(workdir: Path, recipe: Recipe, step: int | None = None) -> tuple[Objective, State, int]:
    """The objective, and parameters and extra state of a checkpoint, on `mesh_here`; and its step.

    Shapes come from a record of the probe source, so that the pretraining data need not be at hand.
    """
    source = (recipe.data.probe or recipe.data.pretrain).build()
    setup = build(recipe, len(source))
    mesh = mesh_here(recipe)
    with jax.set_mesh(mesh):
        batch = batch_like(source, recipe.batch_size, BadRecords(recipe.data.max_bad_fraction))
        like = state_like(setup, batch, mesh, recipe.mesh.rules)
        checkpoints = Checkpoints(Path(workdir) / "checkpoints", read_only=True)
        found = checkpoints.restore(like, step)
        return setup.objective, State(found.params, found.extra), int(found.step)
