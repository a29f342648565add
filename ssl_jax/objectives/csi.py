"""CSI: SimCLR on turned images; other turns are negatives too, and a classifier tells the turn.

Tack, Mo, Jeong, Shin 2020, "CSI: Novelty Detection via Contrastive Learning on Distributionally Shifted Instances",
arXiv 2007.08176.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.losses.classification import classification
from ssl_jax.losses.mean import Mean
from ssl_jax.objectives.base import Batch, Keys, Out, Progress, PyTree, State, Views
from ssl_jax.objectives.rotnet import require_square, rotations
from ssl_jax.objectives.shared.forward import Chain, applied, init_variables
from ssl_jax.objectives.simclr import SimCLR


@dataclass(frozen=True)
class CSI(SimCLR):
    """`L_con-SI + turn_weight * L_cls-SI` (section 2.2), with quarter turns as the shifting transformation.

    Fidelity: the paper has every image in the batch at all four turns, each a negative of the others, which is four times the
    work and what gives the method its name. Here an image has one turn, drawn anew in every epoch and the same for both of
    its views: turned images are negatives of each other, but never two turns of one image in the same step. The classifier is
    a linear layer on the encoder's features, as in the paper's code. The paper scores outliers with the model; here it is an
    encoder like others. The rest is as in `SimCLR`.
    """

    turn_weight: float = 1.0

    apart = ("classifier",)

    @property
    def modules(self) -> Chain:
        """Those of SimCLR, and from features to the four turns."""
        return {**super().modules, "classifier": self.mlp((), 4, norm="none")}

    def init(self, key: Array, views: Views) -> State:
        """As SimCLR, and the parameters of the `classifier`."""
        params, extra = super().init(key, views)
        features = jax.eval_shape(
            lambda view: self.student(params, extra, view, noise=key)[0]["encoder"], views[self.view]
        )
        zeros = jnp.zeros(features.shape, features.dtype)
        params["classifier"], _ = init_variables(self.modules["classifier"], jax.random.fold_in(key, 1), zeros)
        return State(params, extra)

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """Both views [B, 2, h, h, C] of an image turned alike, and `turn` [B], the quarter turns."""
        image = self.augment(keys.example, batch)[self.view]
        require_square(image)

        def turned(key: Array, views: Array) -> tuple[Array, Array]:
            turn = jax.random.randint(jax.random.fold_in(key, 1), (), 0, 4)
            return rotations(views)[:, turn], turn

        image, turn = jax.vmap(turned)(keys.example, image)
        return {self.view: image, "turn": turn}

    def embed(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[PyTree, dict]:
        """`head` [B, 2, out], `logits` [B, 2, 4] and `turn` [B], and the new BatchNorm statistics."""
        outs, stats = self.student(params, extra, views[self.view], noise=key)
        logits = applied(self.modules["classifier"], params["classifier"], outs["encoder"])
        return {"head": outs["head"], "logits": logits, "turn": views["turn"].astype(logits.dtype)}, stats

    def score(self, params: dict, extra: dict, embeddings: PyTree, progress: Progress) -> Out:
        """NT-Xent over turned images, and cross-entropy and accuracy of their turns."""
        out = super().score(params, extra, embeddings["head"], progress)
        logits, turn = embeddings["logits"], embeddings["turn"].astype(jnp.int32)
        loss, accuracy = classification(logits, jnp.broadcast_to(turn[:, None], logits.shape[:2]))
        weighted = Mean(self.turn_weight * loss.total, loss.weight)
        return out._replace(losses=out.losses | {"turn": weighted}, metrics=out.metrics | {"turn_accuracy": accuracy})
