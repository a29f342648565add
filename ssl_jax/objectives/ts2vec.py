"""TS2Vec: what a step of a series means does not depend on what surrounds it, at every scale of time.

Yue, Wang, Duan, Yang, Huang, Tong, Xu 2021, "TS2Vec: Towards Universal Representation of Time Series", arXiv 2106.10466.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.data.panels import Panel, Signals
from ssl_jax.data.series.crops import crops, from_step, lengths
from ssl_jax.data.series.views import SeriesViews
from ssl_jax.errors import UserError
from ssl_jax.losses.hierarchical import hierarchical_contrast
from ssl_jax.losses.mean import Mean
from ssl_jax.objectives.base import Batch, Encoder, Keys, Out, Pairwise, Progress, State, Views
from ssl_jax.objectives.shared.ema import ema_update
from ssl_jax.objectives.shared.forward import applied, single


@dataclass(frozen=True)
class TS2Vec(Pairwise):
    """Two overlapping crops of every series, steps hidden in each, compared where they overlap by the hierarchical contrast.

    The encoder that is evaluated is the mean of the parameters at the start and after every step (`average`); `student` is the
    last one.

    Fidelity: as the authors' code: lengths are drawn once for a batch and places for each series, a step is hidden with the
    chance 1/2 behind the linear layer, similarities have neither norm nor temperature. Crops are masks over arrays of one
    length, which is the same function (`models.series`). A crop may lie in padding, whose steps are zeros, as there.
    """

    encoder: nn.Module
    augment: SeriesViews
    hidden: float = 0.5
    share: float = 0.5

    def __post_init__(self) -> None:
        for name in ("hidden", "share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"objective.{name}={getattr(self, name)} must be between 0 and 1; the paper has 0.5")
        if self.augment.count != 1:
            raise UserError(f"ts2vec cuts two crops itself; set augment.count=1, not {self.augment.count}")

    def init(self, key: Array, views: Views) -> State:
        """Parameters of the encoder, and in `extra` their average, under `teacher/encoder`."""
        params = {"encoder": self.encoder.init(key, *single(self.given(views)))["params"]}
        return State(params, {"teacher": jax.tree.map(jnp.copy, params)})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The series [B, 1, T, C] with `inside` and `seen` bool [B, 2, T], the `first` step of the overlap [B], and which steps
        from there on are in the `overlap` [B, T]."""
        views = self.augment(keys.example, batch)
        steps = views[self.view].shape[2]
        found = lengths(keys.step, steps)
        place, show = (jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(keys.example) for i in (1, 2))
        inside, first = jax.vmap(lambda key: crops(key, found, steps))(place)
        seen = jax.vmap(lambda key: jax.random.uniform(key, (2, steps)) >= self.hidden)(show)
        overlap = jnp.broadcast_to(jnp.arange(steps) < found.overlap, (len(first), steps))
        return views | {"inside": inside, "seen": seen, "first": first, "overlap": overlap}

    def embed(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[dict[str, Array], tuple]:
        """States `z` [B, 2, T, D] of both crops from the first step of their overlap on, and the `overlap` as numbers."""
        count, _, steps, _ = views[self.view].shape
        given = (jnp.repeat(x[:, 0], 2, axis=0) for x in self.given(views))
        masks = {name: views[name].reshape(2 * count, steps) for name in ("seen", "inside")}
        states = applied(self.encoder, params["encoder"], *given, train=True, rngs={"noise": key}, **masks)
        z = from_step(states, jnp.repeat(views["first"], 2)).reshape(count, 2, steps, -1)
        return {"z": z, "overlap": views["overlap"].astype(z.dtype)}, ()

    def score(self, params: dict, extra: dict, embeddings: dict[str, Array], progress: Progress) -> Out:
        """The hierarchical contrast; the same number of steps overlaps in all series."""
        steps = embeddings["overlap"].sum(axis=1).max().astype(jnp.int32)
        z = embeddings["z"]
        loss = hierarchical_contrast(z[:, 0], z[:, 1], steps, self.share)
        return Out({"contrast": Mean(loss, jnp.ones((), loss.dtype))})

    def update(self, params: dict, extra: dict, out: Out, progress: Progress) -> State:
        """The average takes in the new parameters, each step as much as any other."""
        kept = (progress.step + 1) / (progress.step + 2)
        return State(params, extra | {"teacher": ema_update(extra["teacher"], params, kept)})

    def encoders(self) -> dict[str, Encoder]:
        """`average` (what the paper evaluates) and `student`."""
        student = super().encoders()["student"]
        return {"average": replace(student, path=("extra", "teacher", "encoder")), "student": student}

    def embeddings(self, params: dict, extra: dict, batch: Batch) -> dict[str, Array]:
        """The states [B, D] of the middle step, which the loss compares between series."""
        given = self.augment.evaluation(batch)
        states = applied(self.encoder, params["encoder"], *(given[name] for name in self.augment.inputs))
        return {"states": states[:, states.shape[1] // 2]}

    def preview(self, views: Views) -> dict[str, Panel]:
        """Both crops; what lies beside them is a gap, and hidden steps are hatched."""
        shown = jnp.where(views["inside"][..., None] & views["valid"], views["series"], jnp.nan)
        hidden = ~views["seen"] & views["inside"]
        return {
            "crops": Signals(shown, ("crop that reaches back", "crop that reaches on"), hidden=jax.device_get(hidden))
        }
