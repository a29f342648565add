"""CURL: two crops of the same stack of frames recognise each other under a learned bilinear similarity.

Srinivas, Laskin, Abbeel 2020, "CURL: Contrastive Unsupervised Representations for Reinforcement Learning",
arXiv 2004.04136. Only the representation is learned here; there is no policy.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.data.panels import Panel
from ssl_jax.losses.contrastive import bilinear_info_nce
from ssl_jax.objectives.base import Out, Pairwise, Progress, State, Views
from ssl_jax.objectives.shared.forward import sliced
from ssl_jax.objectives.shared.joint import WithTeacher, spread


@dataclass(frozen=True)
class CURL(WithTeacher, Pairwise):
    """InfoNCE on `q W k^T` between an anchor crop and the teacher's features of another crop (eq. 3 and 4).

    A picture [h, w, C x frames] is a stack, whose frames share a crop. The similarity is neither normalised nor
    divided by a temperature, and anchors and positives do not change places.

    Fidelity: W starts uniform in [0, 1) and the teacher keeps 0.95 at every second step, as in the authors' code. Theirs
    steps the encoder twice for each gradient, since it belongs to two Adam optimisers; here it is stepped once. Crops reach
    every place of the frame; theirs never use the last one.
    """

    momentum: float = 0.95
    teacher_every: int = 2

    compares = "values"

    def momentum_at(self, progress: Progress) -> Array:
        """The constant at every `teacher_every`-th step, else 1."""
        return jnp.where(progress.step % self.teacher_every == 0, self.momentum, 1.0)

    def init(self, key: Array, views: Views) -> State:
        """As with every teacher, with `params/similarity`, the matrix W."""
        params, extra = super().init(key, views)
        outs = jax.eval_shape(lambda view: self.student(params, extra, view, noise=key)[0], self.given(views))
        width = outs["encoder"].shape[-1]
        params["similarity"] = {"kernel": jax.random.uniform(jax.random.fold_in(key, 1), (width, width))}
        return State(params, extra)

    def embed(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[dict, dict]:
        """Features of the anchor `q` and of the positive `k` [B, F], and the new BatchNorm statistics, if any."""
        query, stats = self.student(params, extra, sliced(self.given(views), 0, 1), noise=key)
        keys, taught = self.teacher(extra, sliced(self.given(views), 1, 2), noise=key)
        return {"q": query["encoder"][:, 0], "k": keys["encoder"][:, 0]}, stats | taught

    def score(self, params: dict, extra: dict, embeddings: dict, progress: Progress) -> Out:
        """The contrastive loss of the batch."""
        q, k = embeddings["q"], embeddings["k"]
        return Out({"info_nce": bilinear_info_nce(q, k, params["similarity"]["kernel"])}, {"z_std": spread(k)})

    def preview(self, views: Views) -> dict[str, Panel]:
        """The newest frame of each crop, as a grey picture."""
        return super().preview({self.view: views[self.view][..., -1:]})
