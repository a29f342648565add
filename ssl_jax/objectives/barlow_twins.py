"""Barlow Twins: the dimensions of two views correlate one to one, and with no other.

Zbontar, Jing, Misra, LeCun, Deny 2021, "Barlow Twins: Self-Supervised Learning via Redundancy Reduction",
arXiv 2103.03230.
"""

from __future__ import annotations

from dataclasses import dataclass

from jax import Array

from ssl_jax.losses.decorrelation import barlow_twins
from ssl_jax.losses.mean import Mean
from ssl_jax.objectives.base import Out, Pairwise, Progress, Views
from ssl_jax.objectives.shared.forward import Chain
from ssl_jax.objectives.shared.joint import JointEmbedding, spread


@dataclass(frozen=True)
class BarlowTwins(JointEmbedding, Pairwise):
    """Cross-correlation of two views towards the identity (eq. 1).

    Fidelity: `off_diagonal` is the code's 0.0051. Gradients are those of the global loss. The authors' all-reduce is
    invisible to autograd, so theirs are smaller by the number of GPUs: LARS hides that for matrices, but their learning
    rate of 0.0048 for biases and norms on 32 GPUs is 0.00015 here. `scale` multiplies the loss (solo-learn: 0.1 on CIFAR).
    The running statistics of the last norm, which nobody reads, are not kept.
    """

    off_diagonal: float = 0.0051
    hidden: tuple[int, ...] = (8192, 8192)
    out: int = 8192
    scale: float = 1.0
    head_norm: str = "batch"

    @property
    def modules(self) -> Chain:
        """Encoder and projector, whose Dense layers have no biases."""
        return {
            "encoder": self.encoder,
            "projector": self.mlp(self.hidden, self.out, norm=self.head_norm, out_bias=False),
        }

    def embed(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[Array, dict]:
        """Projections [B, 2, out] and the new BatchNorm statistics."""
        outs, stats = self.student(params, extra, self.given(views), noise=key)
        return outs["projector"], stats

    def score(self, params: dict, extra: dict, embeddings: Array, progress: Progress) -> Out:
        """The invariance and redundancy terms."""
        terms = barlow_twins(embeddings[:, 0], embeddings[:, 1], self.off_diagonal)
        losses = {name: Mean(self.scale * term.total, term.weight) for name, term in terms.items()}
        return Out(losses, {"z_std": spread(embeddings)})
