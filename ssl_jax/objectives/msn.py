"""MSN: masked and small views are assigned to the prototypes of the whole image.

Assran, Caron, Misra, Bojanowski, Bordes, Vincent, Joulin, Rabbat, Ballas 2022, "Masked Siamese Networks for Label-Efficient
Learning", arXiv 2204.07141.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.data.masks.noise import random_keep
from ssl_jax.losses.assignment import masked_siamese, prototype_scores, sharpened_assignment
from ssl_jax.losses.distillation import entropy
from ssl_jax.losses.mean import Mean
from ssl_jax.models.grid import grid_of
from ssl_jax.models.heads import ProjectionHead
from ssl_jax.models.transformer import NOISE
from ssl_jax.objectives.base import Batch, Keys, Out, Progress, State, Views
from ssl_jax.objectives.shared.distillation import TokenTeacher
from ssl_jax.objectives.shared.forward import Chain, applied, forward_views, init_variables
from ssl_jax.objectives.shared.joint import few_rows, require_positive


@dataclass(frozen=True)
class MSN(TokenTeacher):
    """Cross-entropy of anchor and target assignments minus the entropy of the mean assignment (eq. 1).

    The main views [B, 2, ...] are the target, whole, and the anchor, of which `mask_ratio` of the patches are dropped. Local
    crops are the focal views.

    Fidelity: prototypes have no teacher of their own, and no gradient from the target's side. Targets are sharpened, then
    balanced by Sinkhorn over the batch (`sinkhorn_iterations=0` leaves that out). The head has three layers with BatchNorm
    over the global batch, one batch for all anchors and one for the targets. Focal views keep all of their patches.
    """

    prototypes: int = 1024
    hidden: int = 2048
    out: int = 256
    head_norm: str = "batch"
    temperature: float = 0.1
    sharpening: float = 0.25
    sinkhorn_iterations: int = 3
    entropy_weight: float = 1.0
    mask_ratio: float = 0.15

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(temperature=self.temperature, sharpening=self.sharpening)

    @property
    def modules(self) -> Chain:
        """Encoder and head; prototypes are an array of their own."""
        return {"encoder": self.encoder, "head": self.head}

    @property
    def head(self) -> ProjectionHead:
        """The projection head, in the arithmetic of the encoder."""
        return self.mlp((self.hidden, self.hidden), self.out, norm=self.head_norm)

    def init(self, key: Array, views: Views) -> State:
        """`params`: encoder, head, prototypes. `extra`: teacher of the first two, and BatchNorm statistics, if any."""
        keys = jax.random.split(key, 3)
        params = {"encoder": self.init_encoder(keys[0], views)}
        rows = jnp.zeros((2, self.encoder.width))
        params["head"], stats = init_variables(self.head, keys[1], rows)
        extra = {"teacher": jax.tree.map(jnp.copy, params)}
        params["prototypes"] = jax.random.uniform(keys[2], (self.prototypes, self.out), minval=-1) / self.out**0.5
        if stats is not None:
            extra["batch_stats"] = {"head": stats, "teacher_head": jax.tree.map(jnp.copy, stats)}
        return State(params, extra)

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The crops of every size, and `noise` [B, N]: the anchor keeps the patches with the smallest."""
        views = super().views(keys, batch, progress)
        patches = math.prod(grid_of(views[self.view].shape, self.encoder.patch))
        noise = jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, 1), (patches,)))(keys.example)
        return views | {"noise": noise}

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """The two terms of eq. 1."""
        target, stats = self._target(extra, views)
        anchors, anchor_stats = self._anchors(params, extra, views, key)
        scores = prototype_scores(target[:, 0], jax.lax.stop_gradient(params["prototypes"]))
        targets = sharpened_assignment(scores, self.temperature, self.sharpening, self.sinkhorn_iterations)
        agree, uneven = masked_siamese(prototype_scores(anchors, params["prototypes"]), targets, self.temperature)
        losses = {"assignment": agree, "uneven": Mean(self.entropy_weight * uneven.total, uneven.weight)}
        return Out(losses, {"target_entropy": entropy(targets)}, batch_stats=stats | anchor_stats)

    def embeddings(self, params: dict, extra: dict, batch: Batch) -> dict[str, Array]:
        """The student's scores [B, K] of class tokens."""
        z, _ = self._head(params, extra, self.class_tokens(params, batch), "head")
        return {"head": prototype_scores(z[:, 0], params["prototypes"])}

    def assignments(self, params: dict, extra: dict, batch: Batch) -> dict[str, Array]:
        """The teacher's assignments [B, K] of class tokens, before sharpening and balancing."""
        teacher = extra["teacher"]
        z, _ = self._head(teacher, extra, self.class_tokens(teacher, batch), "teacher_head")
        return {"head": jax.nn.softmax(prototype_scores(z[:, 0], params["prototypes"]) / self.temperature)}

    def warnings(self, batch_size: int) -> tuple[str, ...]:
        """Few rows for each prototype: the paper has 1024 for 1024."""
        return few_rows(batch_size, self.prototypes, 1.0) if self.sinkhorn_iterations else ()

    def accumulation_refusal(self, extra: dict) -> str | None:
        """Always: prototypes are balanced over the global batch."""
        return "MSN balances its prototypes over the global batch"

    def _anchors(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[Array, dict]:
        """Embeddings [B, 1 + L, out] of the anchor and the focal views, and the new BatchNorm statistics."""
        crops = self.crops(views)
        kept = random_keep(views["noise"], self.mask_ratio)[0][:, None]
        tokens = applied(
            self.encoder, params["encoder"], (crops[0][:, 1:], *crops[1:]), keep=(kept, *(None for _ in crops[1:])),
            train=True, method="crops", rngs={NOISE: key},
        )  # fmt: skip
        return self._head(params, extra, jnp.concatenate([t[:, :, 0] for t in tokens], axis=1), "head")

    @jax.named_scope("teacher")
    def _target(self, extra: dict, views: Views) -> tuple[Array, dict]:
        """Embeddings [B, 1, out] of the target by the teacher, without gradient, and the new BatchNorm statistics."""
        tokens = self.teacher_tokens(extra, views | {self.view: views[self.view][:, :1]})
        z, stats = self._head(extra["teacher"], extra, tokens[:, :, 0], "teacher_head")
        return jax.lax.stop_gradient(z), stats

    def _head(self, params: dict, extra: dict, tokens: Array, name: str) -> tuple[Array, dict]:
        before = extra.get("batch_stats", {}).get(name)
        z, stats = forward_views(self.head, params["head"], before, tokens)
        return z, {} if stats is None else {name: stats}
