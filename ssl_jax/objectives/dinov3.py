"""DINOv3: DINOv2 for longer, at constant rates, then anchored to the patch similarities of an earlier teacher.

Simeoni, Vo, Seitzer, Baldassarre, Oquab et al. 2025, "DINOv3", arXiv 2508.10104.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.errors import UserError
from ssl_jax.losses.gram import gram_anchoring
from ssl_jax.losses.mean import Mean
from ssl_jax.models.grid import grid_of, resize_tokens
from ssl_jax.objectives.base import Out, Progress, State, Views
from ssl_jax.objectives.dinov2 import DINOv2
from ssl_jax.objectives.shared.forward import applied


@dataclass(frozen=True)
class DINOv3(DINOv2):
    """`L_DINO + L_iBOT + 0.1 L_KoLeo`, and from `gram_start` on `gram_weight * L_Gram` (eq. 1 to 3).

    gram_start, gram_every: shares of the run. At `gram_start` the Gram teacher becomes a copy of the teacher, and so again
        `gram_refreshes` times, every `gram_every`. gram_weight=0 leaves all of it out.
    gram_momentum, gram_local_weight: of the teacher, and of the local crops' loss, from `gram_start` on.

    Fidelity: prototypes are a linear layer without weight normalisation; KoLeo is that of DINOv2, not the top-k over GPUs.
    The Gram teacher sees the policy `gram` of the augmentation if there is one (the same crops, larger and undistorted:
    `like="image"`), otherwise the global crops; its features are resampled bicubically, without antialias, to the student's
    grid before they are normalised. The student's patches are those of its masked global crops. The paper lowers the
    learning rate for this stage (5e-5 to 3e-5), which is a milestone of the schedule in the recipes. Local crops may have a
    final LayerNorm of their own (`model.local_norm`); crop sizes are fixed for a run, without the mixed sizes of the
    high-resolution stage.
    """

    last_layer: str = "linear"
    magnitude: bool = False
    momentum: tuple[float, float] = (0.994, 0.994)
    gram_weight: float = 0.0
    gram_start: float = 1.0
    gram_every: float = 0.01
    gram_refreshes: int = 3
    gram_momentum: float = 0.999
    gram_local_weight: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.gram_start <= 1 or not 0 < self.gram_every <= 1:
            raise UserError(
                f"objective.gram_start={self.gram_start}, gram_every={self.gram_every}: shares of the run, up to 1"
            )

    def init(self, key: Array, views: Views) -> State:
        """As DINOv2; `extra` also holds the Gram teacher's encoder, if it is ever used."""
        params, extra = super().init(key, views)
        gram = {"gram": jax.tree.map(jnp.copy, params["encoder"])} if self.gram_weight else {}
        return State(params, extra | gram)

    def started_from(self, params: dict, extra: dict, anew: frozenset[str]) -> State:
        """A run without a Gram teacher gives its teacher."""
        gram = {"gram": jax.tree.map(jnp.copy, extra["teacher"]["encoder"])} if "gram" in anew else {}
        return State(params, extra | gram)

    def anchored(self, progress: Progress) -> Array | bool:
        """Whether the Gram stage has begun."""
        return False if not self.gram_weight else progress.step >= self._start(progress)

    def momentum_at(self, progress: Progress) -> Array:
        """Constant in each stage."""
        return jnp.where(self.anchored(progress), self.gram_momentum, super().momentum_at(progress))

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """DINOv2's terms, and Gram anchoring once it has begun."""
        student, teacher = self.student_tokens(params, views, key), self.teacher_tokens(extra, views)
        out = self.terms(params, extra, views, student, teacher, progress)
        if not self.gram_weight:
            return out
        anchored = self.anchored(progress)
        local = out.losses["dino_local"]
        weight = jnp.where(anchored, self.gram_local_weight, 1.0)
        compute = lambda tokens: self.gram_term(extra, views, tokens).value  # noqa: E731
        skip = lambda tokens: jnp.zeros((), jnp.result_type(tokens, jnp.float32))  # noqa: E731
        gram = self.gram_weight * jax.lax.cond(anchored, compute, skip, student[0])
        count = jnp.asarray(student[0].shape[0], gram.dtype)
        changed = {"dino_local": Mean(weight * local.total, local.weight), "gram": Mean(gram * count, count)}
        return out._replace(losses=out.losses | changed)

    def gram_term(self, extra: dict, views: Views, student: Array) -> Mean:
        """Gram anchoring of the student's tokens [B, G, T, D] of the global crops."""
        images, prefix = views.get("gram", views[self.view]), self.encoder.prefix
        params = jax.lax.stop_gradient(extra["gram"])
        anchor = applied(self.encoder, params, (images,), method="crops")[0][:, :, prefix:]
        grid, target = (grid_of(v.shape, self.encoder.patch) for v in (images, views[self.view]))
        patches = (student[:, :, prefix:], resize_tokens(anchor, grid, target))
        return gram_anchoring(*(p.reshape(-1, *p.shape[2:]) for p in patches))

    def update(self, params: dict, extra: dict, out: Out, progress: Progress) -> State:
        """As DINOv2; at its times the Gram teacher becomes the teacher."""
        params, extra = super().update(params, extra, out, progress)
        if not self.gram_weight:
            return State(params, extra)
        since = progress.step + 1 - self._start(progress)
        every = jnp.maximum(jnp.round(self.gram_every * progress.total), 1)
        due = (since >= 0) & (since % every == 0) & (since <= self.gram_refreshes * every)
        fresh = extra["teacher"]["encoder"]
        return State(params, extra | {"gram": jax.tree.map(lambda g, t: jnp.where(due, t, g), extra["gram"], fresh)})

    def _start(self, progress: Progress) -> Array:
        return jnp.round(self.gram_start * progress.total)
