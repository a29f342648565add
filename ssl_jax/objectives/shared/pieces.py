"""What pretexts on pieces of a record share: one trunk for every piece, one classifier on all of them together."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.losses.classification import classification, with_chance
from ssl_jax.losses.mean import Mean
from ssl_jax.objectives.base import Out, Progress, State, View, Views
from ssl_jax.objectives.shared.forward import BatchNormRule, forward, init_variables
from ssl_jax.objectives.shared.joint import JointEmbedding


@dataclass(frozen=True)
class Pieces(JointEmbedding):
    """Cross-entropy of `label` [B], from the P pieces of a record [B, P, ...], the views, in their order.

    `chain` runs on each piece, all pieces of the batch in one BatchNorm batch; the module `classifier` sees the outputs of
    the last of them side by side, after ReLU.
    """

    bn: BatchNormRule = field(default="joint", kw_only=True)
    compares = "nothing"
    apart = ("classifier",)

    @property
    def classifier(self) -> nn.Module:
        """From P x F features to the logits."""
        return self.modules["classifier"]

    def init(self, key: Array, views: Views) -> State:
        """`params` and statistics of the modules and the `classifier`."""
        params, extra = super().init(key, views)
        stats = extra.get("batch_stats", {})
        joined = jax.eval_shape(lambda pieces: self._joined(params, extra, pieces, key)[0], self.given(views))
        zeros = jnp.zeros(joined.shape, joined.dtype)
        params["classifier"], new = init_variables(self.classifier, jax.random.fold_in(key, 1), zeros)
        stats |= {} if new is None else {"classifier": new}
        return State(params, {"batch_stats": stats} if stats else {})

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Cross-entropy, and the accuracy of the pretext task."""
        joined, stats = self._joined(params, extra, self.given(views), key)
        before = extra.get("batch_stats", {}).get("classifier")
        logits, new = forward(self.classifier, params["classifier"], before, joined)
        loss, accuracy = classification(logits, views["label"])
        stats |= {} if new is None else {"classifier": new}
        return Out({"cross_entropy": loss}, {"accuracy": accuracy}, batch_stats=stats)

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """The accuracy of the pretext task, BatchNorm on the statistics of these views, and that of guessing."""
        metrics = self.loss(params, extra, views, key, Progress(0, 1)).metrics
        return with_chance(metrics, self.classifier.out)

    def _joined(self, params: dict, extra: dict, pieces: View, key: Array) -> tuple[Array, dict]:
        outs, stats = self.student(params, extra, pieces, noise=key)
        last = outs[list(self.chain)[-1]]
        return jax.nn.relu(last.reshape(last.shape[0], -1)), stats
