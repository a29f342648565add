"""VICReg: views agree, every dimension keeps a variance, no two dimensions covary.

Bardes, Ponce, LeCun 2021, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning",
arXiv 2105.04906.
"""

from __future__ import annotations

from dataclasses import dataclass

from jax import Array

from ssl_jax.losses.decorrelation import vicreg
from ssl_jax.objectives.base import Out, Pairwise, Progress, Views
from ssl_jax.objectives.shared.forward import Chain
from ssl_jax.objectives.shared.joint import JointEmbedding, spread


@dataclass(frozen=True)
class VICReg(JointEmbedding, Pairwise):
    """`lambda s(Z, Z') + mu (v(Z) + v(Z')) / 2 + nu (c(Z) + c(Z'))` (eq. 6); gradient flows through both views.

    Fidelity: weights, unbiased variances and the halved variance term as in the authors' code, which divides the
    covariance by the global batch minus one. The hidden layers of the expander have biases in front of BatchNorm, the last
    layer has none.
    """

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0
    hidden: tuple[int, ...] = (8192, 8192)
    out: int = 8192
    head_norm: str = "batch"

    compares = "values"

    @property
    def modules(self) -> Chain:
        """Encoder and expander."""
        expander = self.mlp(self.hidden, self.out, norm=self.head_norm, bias=True, out_bias=False)
        return {"encoder": self.encoder, "expander": expander}

    def embed(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[Array, dict]:
        """Embeddings [B, 2, out] and the new BatchNorm statistics."""
        outs, stats = self.student(params, extra, self.given(views), noise=key)
        return outs["expander"], stats

    def score(self, params: dict, extra: dict, embeddings: Array, progress: Progress) -> Out:
        """The three weighted terms."""
        weights = (self.invariance, self.variance, self.covariance)
        return Out(vicreg(embeddings[:, 0], embeddings[:, 1], *weights), {"z_std": spread(embeddings)})
