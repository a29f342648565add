"""MoCo v1 and v2: a query finds its key, made by a slowly moving encoder, among a queue of earlier keys.

He, Fan, Wu, Xie, Girshick 2019, "Momentum Contrast for Unsupervised Visual Representation Learning", arXiv 1911.05722;
v2 with an MLP head (`hidden=(2048,)`): Chen, Fan, Girshick, He 2020, arXiv 2003.04297.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.losses.contrastive import normalize, queue_info_nce
from ssl_jax.objectives.base import Out, Progress, State, View, Views
from ssl_jax.objectives.shared.forward import BatchNormRule, Chain, arrays_of, sliced
from ssl_jax.objectives.shared.joint import WithTeacher, require_positive, spread
from ssl_jax.objectives.shared.queue import check_queue, enqueue, random_queue


@dataclass(frozen=True)
class MoCo(WithTeacher):
    """InfoNCE of a query with its key against a queue (eq. 1); view 0 is the query, view 1 the key.

    Fidelity: the queue is the one before this step's keys enter it, and keys of the same batch are no negatives, as in
    the authors' code. `bn=G` gives each of G logical groups its own BatchNorm statistics, and keys are encoded in a random
    order and put back, which is the paper's shuffling on G GPUs, whatever the mesh here; the paper has 8. With
    `bn="separate"` statistics are global and there is nothing to shuffle. The head has no BatchNorm.
    """

    temperature: float = 0.07
    hidden: tuple[int, ...] = ()
    out: int = 128
    queue: int = 65536
    momentum: float = 0.999
    bn: BatchNormRule = field(default=8, kw_only=True)

    def __post_init__(self) -> None:
        require_positive(temperature=self.temperature)

    @property
    def modules(self) -> Chain:
        """Encoder and head: a linear layer (v1) or an MLP (v2)."""
        return {"encoder": self.encoder, "head": self.mlp(self.hidden, self.out, norm="none")}

    def momentum_at(self, progress: Progress) -> float:
        """Constant."""
        return self.momentum

    def init(self, key: Array, views: Views) -> State:
        """As with every teacher; in `extra` also `queue`, random unit vectors."""
        check_queue(self.queue, views[self.view].shape[0])
        params, extra = super().init(key, views)
        return State(params, extra | {"queue": random_queue(jax.random.fold_in(key, 1), self.queue, self.out)})

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """InfoNCE; the keys [B, out] leave in `rows`."""
        both = self.given(views)
        query, stats = self.student(params, extra, sliced(both, 0, 1), noise=key)
        keys, taught = self._keys(extra, sliced(both, 1, 2), key)
        loss = queue_info_nce(query["head"][:, 0], keys, extra["queue"]["rows"], self.temperature)
        return Out({"info_nce": loss}, {"z_std": spread(keys)}, rows=normalize(keys), batch_stats=stats | taught)

    def _keys(self, extra: dict, view: View, key: Array) -> tuple[Array, dict]:
        """Keys [B, out] of one view [B, 1, ...], encoded in a random order where BatchNorm has groups."""
        if self.bn in ("separate", "joint", 1):
            outs, stats = self.teacher(extra, view, noise=key)
            return outs["head"][:, 0], stats
        order = jax.random.permutation(key, arrays_of(view)[0].shape[0])
        outs, stats = self.teacher(extra, jax.tree.map(lambda x: x[order], view), noise=key)
        return outs["head"][jnp.argsort(order), 0], stats

    def update(self, params: dict, extra: dict, out: Out, progress: Progress) -> State:
        """Move the teacher, and let the keys take the place of the oldest in the queue."""
        params, extra = super().update(params, extra, out, progress)
        return State(params, extra | {"queue": enqueue(extra["queue"], out.rows)})
