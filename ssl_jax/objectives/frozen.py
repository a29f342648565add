"""No method: an encoder as it is, such as public weights, to be evaluated."""

from __future__ import annotations

from dataclasses import dataclass

from flax import linen as nn
from jax import Array

from ssl_jax.errors import UserError
from ssl_jax.objectives.base import Batch, Keys, Objective, Out, Progress, State, Views
from ssl_jax.objectives.shared.forward import arrays_of, init_variables, single


@dataclass(frozen=True)
class Frozen(Objective):
    """An encoder without a loss. `ssl-jax eval --encoder PATH` has its recipe name this."""

    encoder: nn.Module

    def init(self, key: Array, views: Views) -> State:
        """`params`: encoder. `extra`: its BatchNorm statistics, if any."""
        params, stats = init_variables(self.encoder, key, *arrays_of(single(self.given(views))), method="features")
        return State({"encoder": params}, {} if stats is None else {"batch_stats": {"encoder": stats}})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The views of the augmentation."""
        return self.augment(keys.example, batch)

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """UserError: there is nothing to learn."""
        raise UserError("objective=Frozen learns nothing; name a method, and start it with init_from.weights")
