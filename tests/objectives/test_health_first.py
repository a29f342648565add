"""The verdict turns before the features are worth less, and no shipped recipe is called anything but healthy at first.

Figures of the first are in docs/results/collapse.md.
"""

from functools import partial
from itertools import accumulate, islice

import jax
import numpy as np
import pytest
from collapse_runs import CASES, run

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.pipeline import batches
from ssl_jax.evaluate.online import OnlineCheck
from ssl_jax.evaluate.probes.health import HEALTHY
from ssl_jax.recipe import load, parse, recipes
from ssl_jax.training.run import build
from ssl_jax.training.step import init_state, train_step

pytestmark = pytest.mark.slow

BYOL = next(case for case in CASES if case.recipe.startswith("byol") and case.without == "stopped gradient")


def lost_at(history, points):
    """The first step at which kNN is so many points below its best so far; None if it never is."""
    best = accumulate((h["knn"] for h in history), max)
    return next((h["step"] for h, b in zip(history, best, strict=True) if h["knn"] < b - points / 100), None)


def test_the_verdict_turns_before_knn_has_lost_two_points():
    found = run(BYOL, whole=False, every=20, neighbours=True)
    lost = lost_at(found.history, 2)
    assert lost is not None, [h["knn"] for h in found.history]
    assert found.collapsed_at < lost


def test_and_stays_where_nothing_is_lost():
    found = run(BYOL, whole=True, every=20, neighbours=True)
    assert set(found.verdicts) == {HEALTHY}, found.history


@pytest.mark.parametrize("name", [recipe.name for recipe in recipes()])
def test_the_first_checks_of_a_shipped_recipe_are_healthy(name):
    """Of the untrained network, and after two steps of its `:tiny` form."""
    recipe = parse(load(f"{name}:tiny"))
    source = recipe.data.pretrain.build()
    setup = build(recipe, len(source))
    stream = batches(source, seed=0, batch_size=recipe.batch_size, start_step=0, bad=BadRecords(0.0), threads=0)
    first, *rest = ({k: np.asarray(v) for k, v in batch.items()} for batch in islice(stream, 3))
    state = jax.jit(partial(init_state, setup))(first)
    check = OnlineCheck(recipe, setup.objective)
    assert check(state)["health"] == HEALTHY
    step = jax.jit(partial(train_step, setup), donate_argnums=0)
    for batch in rest:
        state, _ = step(state, batch)
    found = check(state)
    assert found["health"] == HEALTHY, found
