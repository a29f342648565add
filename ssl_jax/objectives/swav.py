"""SwAV: each crop of an image predicts which prototypes its global views were assigned to.

Caron, Misra, Mairal, Goyal, Bojanowski, Joulin 2020, "Unsupervised Learning of Visual Features by Contrasting Cluster
Assignments", arXiv 2006.09882.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.losses.contrastive import normalize
from ssl_jax.losses.mean import Mean
from ssl_jax.losses.prototypes import prototype_cross_entropy, sinkhorn
from ssl_jax.models.heads import Prototypes, unit_columns
from ssl_jax.objectives.base import Batch, Out, Pairwise, Progress, State, Views
from ssl_jax.objectives.shared.forward import BatchNormRule, Chain, applied, init_variables
from ssl_jax.objectives.shared.joint import JointEmbedding, few_rows, require_positive, spread
from ssl_jax.objectives.shared.queue import check_queue, empty_queue, enqueue, is_full


@dataclass(frozen=True)
class SwAV(JointEmbedding, Pairwise):
    """Swapped prediction of Sinkhorn assignments (eq. 2 and 3), with multi-crop and a queue.

    The main views [B, G, ...] are the global ones, whose assignments are predicted; other kinds are further crops.

    Fidelity: `queue` rows per global view join the scores in front of Sinkhorn once all were filled and `queue_start`, a
    fraction of the run, has passed (0 rows: no queue). They are scored with the present prototypes, and this batch enters
    after that, as in the authors' code, which starts filling its queue only then. Crops of one resolution share a BatchNorm
    batch, and the head sees all crops at once. Prototypes are divided by their norms in every forward pass, and grow; theirs
    are overwritten by unit vectors before it, which `overwrite_prototypes` does too. To freeze them at first is a rule of the
    optimiser, in the recipes. Their rate reaches its peak at the last step of the warm-up, t / (n - 1), ours a step later.
    """

    temperature: float = 0.1
    sinkhorn_temperature: float = 0.05
    sinkhorn_iterations: int = 3
    prototypes: int = 3000
    hidden: tuple[int, ...] = (2048,)
    out: int = 128
    queue: int = 0
    queue_start: float = 0.0
    head_norm: str = "batch"
    overwrite_prototypes: bool = False

    bn: BatchNormRule = field(default="joint", kw_only=True)
    apart = ("prototypes",)

    def __post_init__(self) -> None:
        require_positive(temperature=self.temperature, sinkhorn_temperature=self.sinkhorn_temperature)

    @property
    def modules(self) -> Chain:
        """Encoder and head, whose Dense layers all have biases, and the prototypes."""
        head = self.mlp(self.hidden, self.out, norm=self.head_norm, bias=True, out_bias=True)
        return {"encoder": self.encoder, "head": head, "prototypes": Prototypes(self.prototypes)}

    def init(self, key: Array, views: Views) -> State:
        """As every joint-embedding method, with `params/prototypes`; in `extra` an empty `queue`, if there is one."""
        params, extra = super().init(key, views)
        batch, assigned = views[self.view].shape[:2]
        fresh = jax.random.fold_in(key, 1)
        fresh_prototypes, _ = init_variables(self.modules["prototypes"], fresh, jnp.zeros((1, self.out)))
        params["prototypes"] = self.kept(fresh_prototypes)
        if self.queue:
            check_queue(self.queue, batch)
            extra = extra | {"queue": empty_queue(self.queue, assigned, self.out)}
        return State(params, extra)

    def assignments(self, params: dict, extra: dict, batch: Batch) -> dict[str, Array]:
        """Soft assignments [B, K] at the student's temperature, before Sinkhorn, which depends on the batch."""
        (z,) = self.embeddings(params, extra, batch).values()
        return {"prototypes": jax.nn.softmax(self._scores(params, normalize(z)) / self.temperature)}

    def embed(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[dict, dict]:
        """Unit vectors of `global` and `local` crops [B, V, out], and the new BatchNorm statistics."""
        outs, stats = self.student(params, extra, *self.resolutions(views), noise=key)
        z, count = normalize(outs["head"]), views[self.view].shape[1]
        return {"global": z[:, :count], "local": z[:, count:]}, stats

    def score(self, params: dict, extra: dict, embeddings: dict, progress: Progress) -> Out:
        """The swapped prediction; the global embeddings leave in `rows` for the queue."""
        z = jnp.concatenate([embeddings["global"], embeddings["local"]], axis=1)
        scores, waiting = self._scores(params, z), jnp.zeros((0, z.shape[1], self.prototypes), z.dtype)
        use = jnp.zeros((), bool)
        if self.queue:
            waiting = self._scores(params, extra["queue"]["rows"])
            use = is_full(extra["queue"]) & (progress.step >= self.queue_start * progress.total)
        loss = self.swapped(scores, waiting, embeddings["global"].shape[1], use)
        rows = jax.lax.stop_gradient(embeddings["global"]) if self.queue else ()
        return Out({"swapped_prediction": loss}, {"z_std": spread(z)}, rows=rows)

    def swapped(self, scores: Array, waiting: Array, assigned: int, use: Array) -> Mean:
        """Mean over assigned views i, and over the other views v, of the cross-entropy of v with the assignment of i.

        Args:
            scores: [B, V, K] cosines with the prototypes, the `assigned` global views first.
            waiting: [L, assigned, K] those of the queue.
            assigned: number of global views.
            use: scalar, whether the queue takes part.
        """
        batch = scores.shape[0]
        valid = jnp.concatenate([jnp.ones(batch, bool), jnp.broadcast_to(use, waiting.shape[:1])])
        terms = []
        for i in range(assigned):
            rows = jnp.concatenate([scores[:, i], waiting[:, i]])
            q = sinkhorn(rows, self.sinkhorn_temperature, self.sinkhorn_iterations, valid)[:batch]
            others = jnp.delete(scores, i, axis=1)
            targets = jnp.broadcast_to(q[:, None], others.shape)
            terms.append(prototype_cross_entropy(others, targets, self.temperature).value / assigned)
        return Mean(reduce(jnp.add, terms), jnp.ones((), scores.dtype))

    def warnings(self, batch_size: int) -> tuple[str, ...]:
        """Few rows for each prototype: the paper has 4096 for 3000, or a queue of 3840."""
        return few_rows(batch_size + self.queue, self.prototypes, 1.0)

    def update(self, params: dict, extra: dict, out: Out, progress: Progress) -> State:
        """Let this batch's embeddings into the queue, and overwrite the prototypes if they are to be."""
        params, extra = super().update(params, extra, out, progress)
        params = params | {"prototypes": self.kept(params["prototypes"])}
        return State(params, extra | {"queue": enqueue(extra["queue"], out.rows)} if self.queue else extra)

    def kept(self, prototypes: dict) -> dict:
        """The prototypes as the next step finds them: of unit length where they are overwritten."""
        return jax.tree.map(unit_columns, prototypes) if self.overwrite_prototypes else prototypes

    def _scores(self, params: dict, z: Array) -> Array:
        return applied(self.modules["prototypes"], params["prototypes"], z)
