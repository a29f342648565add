"""Next-token prediction on packed rows: documents beside one another, none of which sees another (Radford et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from ssl_jax.data.augment import Batch, Views, given
from ssl_jax.losses.mean import Mean
from ssl_jax.losses.vocabulary import linear_softmax_cross_entropy
from ssl_jax.objectives.base import Keys, Objective, Out, Progress, State


@dataclass(frozen=True)
class GPT(Objective):
    """Every token is told from those before it in its document; the last layer is the embedding."""

    def init(self, key: Array, views: Views) -> State:
        """Parameters of the encoder."""
        return State({"encoder": self.encoder.init(key, *self._first(views))["params"]}, {})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The augmentation's views, as they are."""
        return self.augment(keys.example, batch)

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Cross-entropy of each token but the first of its document."""
        tokens, segments, places = self._first(views)
        x = self.encoder.apply({"params": params["encoder"]}, tokens, segments, places, train=True)
        told = ((segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0)).astype(jnp.float32)
        rows, table = x[:, :-1].reshape(-1, x.shape[-1]), params["encoder"]["tokens"]["embedding"]
        return Out(
            {
                "cross_entropy": linear_softmax_cross_entropy(
                    rows, table, tokens[:, 1:].reshape(-1), None, told.reshape(-1)
                )
            }
        )

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """Nats for a token."""
        return {"nats": self.loss(params, extra, views, key, Progress(0, 1)).losses["cross_entropy"]}

    def _first(self, views: Views) -> tuple[Array, ...]:
        return tuple(x[:, 0] for x in given(views, self.augment.inputs))
