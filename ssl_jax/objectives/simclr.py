"""SimCLR: two views of an image attract, all other images of the global batch repel.

Chen, Kornblith, Norouzi, Hinton 2020, "A Simple Framework for Contrastive Learning of Visual Representations",
arXiv 2002.05709; the deeper head of v2 (arXiv 2006.10029) is `hidden=(2048, 2048)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
from jax import Array

from ssl_jax.data.augment import panel_of_views
from ssl_jax.errors import UserError
from ssl_jax.losses.streamed.contrastive import nt_xent
from ssl_jax.losses.streamed.cost import METHODS
from ssl_jax.models.heads import ProjectionHead
from ssl_jax.objectives.base import Batch, Keys, Out, Pairwise, Panel, Progress, State, Views
from ssl_jax.objectives.forward import forward, forward_views, init_variables


@dataclass(frozen=True)
class SimCLR(Pairwise):
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

    def __post_init__(self) -> None:
        if self.loss_method not in METHODS:
            raise UserError(f"objective.loss_method={self.loss_method!r}: must be one of {', '.join(METHODS)}")
        if self.temperature <= 0:
            raise UserError(f"objective.temperature={self.temperature} must be > 0; the paper uses 0.1 to 0.5")

    @property
    def head(self) -> ProjectionHead:
        """The projection head g: F -> out."""
        return ProjectionHead(self.hidden, self.out, self.head_norm, final_norm=True, dtype=self.encoder.dtype)

    def init(self, key: Array, views: Views) -> State:
        """`params`: encoder, head. `extra`: their BatchNorm statistics, if any."""
        key_encoder, key_head = jax.random.split(key)
        params, stats = {}, {}
        image = views["image"][:, 0]
        params["encoder"], stats["encoder"] = init_variables(self.encoder, key_encoder, image)
        h, _ = forward(self.encoder, params["encoder"], stats["encoder"], image, method="features")
        params["head"], stats["head"] = init_variables(self.head, key_head, h)
        stats = {name: s for name, s in stats.items() if s is not None}
        return State(params, {"batch_stats": stats} if stats else {})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """`image` [B, 2, h, w, C]."""
        return self.augment(keys.example, batch)

    def embed(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[Array, dict]:
        """Projections [B, 2, out] and the new BatchNorm statistics."""
        stats = extra.get("batch_stats", {})
        h, encoder = forward_views(
            self.encoder, params["encoder"], stats.get("encoder"), views["image"], method="features"
        )
        z, head = forward_views(self.head, params["head"], stats.get("head"), h)
        return z, {name: s for name, s in (("encoder", encoder), ("head", head)) if s is not None}

    def score(self, params: dict, extra: dict, embeddings: Array, progress: Progress) -> Out:
        """NT-Xent of the two views."""
        loss = nt_xent(embeddings[:, 0], embeddings[:, 1], self.temperature, self.loss_method)
        return Out({"nt_xent": loss._replace(total=self.scale * loss.total)})

    def preview(self, views: Views) -> dict[str, Panel]:
        """The views of each image, side by side."""
        return {"views": panel_of_views(views["image"], self.augment.denormalise)}
