"""MoCo v3: each view finds its image among the momentum keys of the other view, within the batch.

Chen, Xie, He 2021, "An Empirical Study of Training Self-Supervised Vision Transformers", arXiv 2104.02057.
"""

from __future__ import annotations

from dataclasses import dataclass

from jax import Array

from ssl_jax.losses.contrastive import info_nce
from ssl_jax.losses.mean import Mean
from ssl_jax.objectives.base import Out, Pairwise, Progress, Views
from ssl_jax.objectives.shared.ema import cosine_momentum
from ssl_jax.objectives.shared.forward import Chain
from ssl_jax.objectives.shared.joint import WithTeacher, require_positive, spread


@dataclass(frozen=True)
class MoCoV3(WithTeacher, Pairwise):
    """`ctr(q_1, k_2) + ctr(q_2, k_1)` with `ctr` the InfoNCE over the batch times 2 t (algorithm 1).

    Fidelity: heads as in the authors' code: no biases, a last BatchNorm without parameters in the projector and, for ViTs,
    in the predictor (`predictor_norm=False` for ResNet-50). Keys are those of the global batch, without gradient. The
    momentum of a step is that of its own end; theirs is read at the start of the next. The frozen patch embedding is a
    rule of the optimiser, in the recipes: it changes neither by gradient nor by decay. The initialisation is that of
    `models/vit.py`, not their own.
    """

    temperature: float = 0.2
    hidden: tuple[int, ...] = (4096, 4096)
    predictor_hidden: tuple[int, ...] = (4096,)
    predictor_norm: bool = True
    out: int = 256
    momentum: tuple[float, float] = (0.99, 1.0)
    head_norm: str = "batch"

    def __post_init__(self) -> None:
        require_positive(temperature=self.temperature)

    @property
    def modules(self) -> Chain:
        """Encoder, projector, predictor."""
        options = {"norm": self.head_norm, "bias": False, "out_bias": False, "final_scale": False}
        projector = self.mlp(self.hidden, self.out, final_norm=True, **options)
        predictor = self.mlp(self.predictor_hidden, self.out, final_norm=self.predictor_norm, **options)
        return {"encoder": self.encoder, "projector": projector, "predictor": predictor}

    def momentum_at(self, progress: Progress) -> Array:
        """Along half a cosine to 1, as in BYOL."""
        return cosine_momentum(*self.momentum, progress)

    def embed(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[dict, dict]:
        """Queries `q` and keys `k` [B, 2, out], and the new BatchNorm statistics."""
        query, stats = self.student(params, extra, self.given(views), noise=key)
        keys, taught = self.teacher(extra, self.given(views), noise=key)
        return {"q": query["predictor"], "k": keys["projector"]}, stats | taught

    def score(self, params: dict, extra: dict, embeddings: dict, progress: Progress) -> Out:
        """The symmetric contrastive loss."""
        q, k, t = embeddings["q"], embeddings["k"], self.temperature
        forth, back = info_nce(q[:, 0], k[:, 1], t), info_nce(q[:, 1], k[:, 0], t)
        return Out({"info_nce": Mean(2 * t * (forth.total + back.total), forth.weight)}, {"z_std": spread(k)})
