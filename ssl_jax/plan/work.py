"""FLOPs of one example of training, for who compares runs by compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssl_jax.plan.estimate import PLAIN, traced, with_options
from ssl_jax.plan.flops import flops
from ssl_jax.plan.problem import problem
from ssl_jax.plan.summary import ONE_DEVICE


def flops_per_example(config: Mapping[str, Any], allow: tuple[str, ...] = ()) -> float:
    """Those of the step of a recipe, forward and backward, all attention and no recomputation. Nothing is compiled.

    UserError where the recipe is wrong, or its data is not here and the recipe does not say what it is.
    """
    posed = problem(config, allow)
    plain = with_options(posed, remat="none", attention=PLAIN)
    return flops(traced(plain, ONE_DEVICE, posed.state())) / posed.recipe.batch_size
