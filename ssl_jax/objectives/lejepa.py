"""LeJEPA: views are predicted from their mean, and embeddings are kept normally distributed. Nothing else.

Balestriero, LeCun 2025, "LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics", arXiv 2511.08544.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.losses.decorrelation import random_directions, sigreg
from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.objectives.base import Out, Pairwise, Progress, Views
from ssl_jax.objectives.shared.forward import BatchNormRule, Chain
from ssl_jax.objectives.shared.joint import JointEmbedding, spread


@dataclass(frozen=True)
class LeJEPA(JointEmbedding, Pairwise):
    """`weight SIGReg + (1 - weight) |z - mean of the global views|^2`; no teacher, no stop-gradient.

    The main views are global, those of other kinds local.

    Fidelity: the centre is the mean of the global views and all views are predicted, as in the paper; the authors' minimal
    example takes the mean of all views. The directions of SIGReg are drawn anew for every step, equal on all devices. The
    test statistic grows with the global batch B, as in their code: with another batch size, keep `weight` x B.
    """

    weight: float = 0.05
    directions: int = 1024
    knots: int = 17
    t_max: float = 3.0
    hidden: tuple[int, ...] = (2048, 2048)
    out: int = 128
    head_norm: str = "batch"

    bn: BatchNormRule = field(default="joint", kw_only=True)
    compares = "values"

    @property
    def modules(self) -> Chain:
        """Encoder and projector."""
        return {"encoder": self.encoder, "projector": self.mlp(self.hidden, self.out, norm=self.head_norm)}

    def embed(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[dict, dict]:
        """Projections of `global` and `local` views [B, V, out], and the new BatchNorm statistics."""
        outs, stats = self.student(params, extra, *self.resolutions(views), noise=key)
        count = views[self.view].shape[1]
        return {"global": outs["projector"][:, :count], "local": outs["projector"][:, count:]}, stats

    def score(self, params: dict, extra: dict, embeddings: dict, progress: Progress) -> Out:
        """Both terms, on directions that belong to the step."""
        directions = random_directions(jax.random.fold_in(jax.random.key(0), progress.step), self.out, self.directions)
        z = jnp.concatenate([embeddings["global"], embeddings["local"]], axis=1)
        return Out(self.terms(embeddings["global"], z, directions), {"z_std": spread(z)})

    def terms(self, z_global: Array, z: Array, directions: Array) -> dict[str, Mean]:
        """The weighted terms for global views [B, G, D], all views [B, V, D] and directions [D, M]."""
        z = z.astype(wide(z.dtype))
        centre = z_global.astype(z.dtype).mean(axis=1, keepdims=True)
        error = mean_of(jnp.square(centre - z))
        normality = jax.vmap(lambda view: sigreg(view, directions, self.knots, self.t_max), in_axes=1)(z).mean()
        return {
            "prediction": Mean((1 - self.weight) * error.total, error.weight),
            "sigreg": Mean(self.weight * normality, jnp.ones((), z.dtype)),
        }
