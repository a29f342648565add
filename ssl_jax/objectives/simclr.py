"""SimCLR: two views of an image attract, all other images of the global batch repel.

Chen, Kornblith, Norouzi, Hinton 2020, "A Simple Framework for Contrastive Learning of Visual Representations",
arXiv 2002.05709; the deeper head of v2 (arXiv 2006.10029) is `hidden=(2048, 2048)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from jax import Array

from ssl_jax.errors import UserError
from ssl_jax.losses.streamed.contrastive import nt_xent
from ssl_jax.losses.streamed.cost import METHODS
from ssl_jax.objectives.base import Out, Pairwise, Progress, Views
from ssl_jax.objectives.shared.forward import BatchNormRule, Chain
from ssl_jax.objectives.shared.joint import JointEmbedding, require_positive


@dataclass(frozen=True)
class SimCLR(JointEmbedding, Pairwise):
    """NT-Xent between two views through a projection head.

    Fidelity: the value is the paper's mean over 2B rows; the authors' code reports, and follows the gradient of, twice
    that, so its learning rates for biases and norms are twice ours (`scale=2` restores it). Negatives are global and
    carry gradient on both sides, and BatchNorm sees both views of the global batch at once, as in the authors' TPU code.
    With `norm="group"` in the encoder and `head_norm="none"` there is no batch statistic at all: a deviation for small
    machines. The evaluation uses the encoder's output, before the head.

    `loss_method` says how the loss is computed, not what it is: "plain" holds all logits, the others one tile at a time.
    """

    temperature: float = 0.1
    hidden: tuple[int, ...] = (2048,)
    out: int = 128
    head_norm: str = "batch"
    scale: float = 1.0
    loss_method: str = "auto"

    bn: BatchNormRule = field(default="joint", kw_only=True)

    def __post_init__(self) -> None:
        if self.loss_method not in METHODS:
            raise UserError(f"objective.loss_method={self.loss_method!r}: must be one of {', '.join(METHODS)}")
        require_positive(temperature=self.temperature)

    @property
    def modules(self) -> Chain:
        """The encoder f and the projection head g."""
        return {"encoder": self.encoder, "head": self.mlp(self.hidden, self.out, norm=self.head_norm, final_norm=True)}

    def embed(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[Array, dict]:
        """Projections [B, 2, out] and the new BatchNorm statistics."""
        outs, stats = self.student(params, extra, self.given(views), noise=key)
        return outs["head"], stats

    def score(self, params: dict, extra: dict, embeddings: Array, progress: Progress) -> Out:
        """NT-Xent of the two views."""
        loss = nt_xent(embeddings[:, 0], embeddings[:, 1], self.temperature, self.loss_method)
        return Out({"nt_xent": loss._replace(total=self.scale * loss.total)})
