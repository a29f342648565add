"""SimSiam: one view predicts the other's projection, and no gradient flows into what is predicted.

Chen & He 2020, "Exploring Simple Siamese Representation Learning", arXiv 2011.10566.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.losses.contrastive import normalize
from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.models.heads import ProjectionHead
from ssl_jax.objectives.base import Batch, Keys, Objective, Out, Progress, State, Views
from ssl_jax.objectives.shared.forward import forward, init_variables


def negative_cosine(p: Array, z: Array) -> Mean:
    """`-<p, stop_gradient(z)>` of unit vectors, averaged over the B rows of p and z [B, D] (eq. 1 and 3)."""
    return mean_of(-jnp.sum(normalize(p) * normalize(jax.lax.stop_gradient(z)), axis=-1))


@dataclass(frozen=True)
class SimSiam(Objective):
    """Encoder, projector, predictor; no negatives, no teacher, no queue.

    Fidelity: BatchNorm sees one view at a time, as in the authors' code. The projector's last norm has a scale, where
    theirs has no parameters. The predictor's learning rate follows the schedule; theirs is constant.
    """

    hidden: tuple[int, ...] = (2048, 2048)
    out: int = 2048
    predictor_hidden: int = 512
    head_norm: str = "batch"

    @property
    def modules(self) -> dict:
        """The encoder f, the projector and the predictor h, in the order in which a view goes through them."""
        dtype = self.encoder.dtype
        projector = ProjectionHead(self.hidden, self.out, self.head_norm, final_norm=True, dtype=dtype)
        predictor = ProjectionHead((self.predictor_hidden,), self.out, self.head_norm, dtype=dtype)
        return {"encoder": self.encoder, "projector": projector, "predictor": predictor}

    def init(self, key: Array, views: Views) -> State:
        """`params`: encoder, projector, predictor. `extra`: their BatchNorm statistics, if any."""
        params, stats, x = {}, {}, views[self.view][:, 0]
        for name, module in self.modules.items():
            method = _method(name)
            key, fresh = jax.random.split(key)
            params[name], stats[name] = init_variables(module, fresh, x, method=method, train=True)
            x, _ = forward(module, params[name], stats[name], x, method=method)
        return State(params, _extra(stats))

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """Two views [B, 2, ...] of each record, under the name that the augmentation gives them."""
        return self.augment(keys.example, batch)

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Each view predicts the other: `D(p0, z1) / 2 + D(p1, z0) / 2`."""
        z0, p0, extra = self.project(params, extra, views[self.view][:, 0])
        z1, p1, extra = self.project(params, extra, views[self.view][:, 1])
        d0, d1 = negative_cosine(p0, z1), negative_cosine(p1, z0)
        # 1 where directions are uniform on the sphere, 0 after a collapse (figure 2).
        spread = jnp.std(normalize(z0), axis=0) * self.out**0.5
        cosine = Mean(d0.total + d1.total, d0.weight + d1.weight)
        return Out({"cosine": cosine}, {"z_std": mean_of(spread)}, batch_stats=extra.get("batch_stats", ()))

    def project(self, params: dict, extra: dict, view: Array) -> tuple[Array, Array, dict]:
        """Projection z [B, D] and prediction p [B, D] of one view [B, ...], and `extra` with new statistics."""
        x, stats, passed = view, {}, {}
        for name, module in self.modules.items():
            before = extra.get("batch_stats", {}).get(name)
            x, stats[name] = forward(module, params[name], before, x, method=_method(name))
            passed[name] = x
        return passed["projector"], passed["predictor"], extra | _extra(stats)


def _method(name: str) -> str:
    return "features" if name == "encoder" else "__call__"


def _extra(stats: dict) -> dict:
    stats = {name: s for name, s in stats.items() if s is not None}
    return {"batch_stats": stats} if stats else {}
