"""Parameters that a step has made useless, although its loss and gradient were finite: looked at before each save.

An update may be too large (a learning rate of 1e30) or undefined (0 / 0 in the optimiser). The step itself does not look: that
would be one more reduction over all devices. Every saved state is read once more instead, as for its copies (`replicas`).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.devices.mesh import path_name, replicate
from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError
from ssl_jax.objectives.base import State

MOST = 3  # names in a message


class UsableCheck:
    """Call it with a state before it is saved: UserError if the norm of a parameter, or of what goes with them, is not finite.

    A norm is infinite from values of about 1e19 on, with which nothing can be computed in float32.
    """

    def __init__(self, like: Any) -> None:
        self._names = [path_name(path) for path, _ in _floats(like)]
        self._squares = jax.jit(lambda state: replicate(squares(state)))

    def __call__(self, state: Any) -> None:
        """Look; waits for the device. Collective: all processes call it."""
        found = np.asarray(self._squares(state._replace(opt_state=(), window=())))
        bad = [name for name, fine in zip(self._names, np.isfinite(found), strict=True) if not fine]
        if bad:
            more = f" and {len(bad) - MOST} more" if len(bad) > MOST else ""
            raise unusable(int(state.step), f"not finite, or too large, in {', '.join(bad[:MOST])}{more}")


def unusable(step: int, why: str) -> UserError:
    """The refusal to promise the state that `step` left."""
    return UserError(
        f"step {step} left parameters that cannot be used: {why}.\nThat state was not saved, and earlier checkpoints are as "
        "they were. Lower optimizer.lr (add --allow-config-change optimizer.lr) or set optimizer.clip; it resumes at the newest "
        "checkpoint"
    )


def squares(state: Any) -> Array:
    """The sum of squares of each array of `params` and `extra` that holds floats [arrays]."""
    total = lambda x: jnp.sum(jnp.square(jnp.abs(x).astype(wide(x.dtype))))  # noqa: E731
    return jnp.stack([total(x) for _, x in _floats(state)])


def _floats(state: Any) -> list[tuple[Any, Any]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(State(state.params, state.extra))
    return [(path, leaf) for path, leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
