"""SimSiam: one view predicts the other's projection, and no gradient flows into what is predicted.

Chen & He 2020, "Exploring Simple Siamese Representation Learning", arXiv 2011.10566.
"""

from __future__ import annotations

from dataclasses import dataclass

from jax import Array

from ssl_jax.losses.regression import negative_cosine
from ssl_jax.objectives.base import Out, Progress, Views
from ssl_jax.objectives.shared.forward import Chain
from ssl_jax.objectives.shared.joint import JointEmbedding, spread


@dataclass(frozen=True)
class SimSiam(JointEmbedding):
    """`D(p_1, sg(z_2)) / 2 + D(p_2, sg(z_1)) / 2` with the negative cosine D (eq. 2 and 4); no negatives, no teacher.

    Fidelity: projector (last norm without parameters) and predictor (bottleneck, last layer with a bias and no norm) as in
    the authors' code, each view a BatchNorm batch of its own over the global batch. Their rate moves once in an epoch, ours
    with every step. The constant learning rate of the predictor is a rule of the optimiser, in the recipes.
    """

    hidden: tuple[int, ...] = (2048, 2048)
    out: int = 2048
    predictor_hidden: int = 512
    head_norm: str = "batch"

    @property
    def modules(self) -> Chain:
        """Encoder f, projector, predictor h."""
        projector = self.mlp(self.hidden, self.out, norm=self.head_norm, final_norm=True, final_scale=False)
        predictor = self.mlp((self.predictor_hidden,), self.out, norm=self.head_norm)
        return {"encoder": self.encoder, "projector": projector, "predictor": predictor}

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Each view predicts the other."""
        outs, stats = self.student(params, extra, self.given(views), noise=key)
        cosine = negative_cosine(outs["predictor"], outs["projector"][:, ::-1])
        return Out({"cosine": cosine}, {"z_std": spread(outs["projector"])}, batch_stats=stats)
