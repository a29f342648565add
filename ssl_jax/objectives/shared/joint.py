"""What joint-embedding methods share: views of a record through an encoder and heads, and a teacher that follows.

A method names its `modules`, has in `bn` which rows share BatchNorm statistics (see `forward.py`), and writes its loss.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.data.augment import given, other_kinds
from ssl_jax.errors import UserError
from ssl_jax.losses.contrastive import normalize
from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.models.heads import ProjectionHead
from ssl_jax.objectives.base import Batch, Encoder, Keys, Objective, Out, Progress, State, View, Views
from ssl_jax.objectives.shared.ema import ema_update, ending
from ssl_jax.objectives.shared.forward import (
    BatchNormRule,
    Chain,
    check_rule,
    folded,
    forward_chain,
    init_chain,
    single,
)

TEACHER = 1 << 16  # folded into the key of noise; modules and views have smaller numbers


@dataclass(frozen=True)
class JointEmbedding(Objective):
    """Views [B, V, ...] of a record through `modules`, in their order, `encoder` first.

    What a view is, the augmentation says (`inputs`); other resolutions are views of other kinds.

    Fidelity: Dense layers of heads start normal with He's deviation and biases of 0. In the authors' PyTorch code (MoCo, SimSiam,
    Barlow Twins, VICReg, SwAV) they start as `torch.nn.Linear` does: `head_initializer="torch"`.

    For comparisons with other code, every method can be told otherwise than its authors':

    bn: which rows share BatchNorm statistics, "joint", "separate" or a number of groups, see `forward.py`.
    head_initializer: how the Dense layers of its heads start, a name of `models.heads.INITIALIZERS`.
    head_bias, head_out_bias: whether the hidden and the last Dense layers of its heads have biases; None: as in its code.
    """

    encoder: nn.Module
    bn: BatchNormRule = field(default="separate", kw_only=True)
    head_initializer: str = field(default="he_normal", kw_only=True)
    head_bias: bool | None = field(default=None, kw_only=True)
    head_out_bias: bool | None = field(default=None, kw_only=True)

    compares = "directions"  # or "values", or "nothing": what the loss compares of two embeddings
    apart: ClassVar[tuple[str, ...]] = ()  # the modules that no view goes through

    def __init_subclass__(cls) -> None:
        """TypeError for a `bn` without a type, which a dataclass would pass over in silence."""
        super().__init_subclass__()
        if "bn" in vars(cls) and "bn" not in vars(cls).get("__annotations__", {}):
            field_ = "bn: BatchNormRule = field(default=..., kw_only=True)"
            raise TypeError(f"{cls.__name__}: write {field_}, not bn = {vars(cls)['bn']!r}")

    @property
    def chain(self) -> Chain:
        """The modules that a view goes through."""
        return {name: module for name, module in self.modules.items() if name not in self.apart}

    def mlp(self, hidden: tuple[int, ...], out: int, **options: Any) -> ProjectionHead:
        """A head in the arithmetic of the encoder, with the biases that the recipe says, else those of `options`."""
        said = {"bias": self.head_bias, "out_bias": self.head_out_bias, "initializer": self.head_initializer}
        options |= {name: value for name, value in said.items() if value is not None}
        return ProjectionHead(tuple(hidden), out, dtype=self.encoder.dtype, **options)

    def init(self, key: Array, views: Views) -> State:
        """`params` of every module; in `extra` their BatchNorm statistics, if any."""
        check_rule(self.bn, views[self.view].shape[0])
        params, stats = init_chain(self.chain, key, single(self.given(views)))
        return State(params, {"batch_stats": stats} if stats else {})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The views of the augmentation, of every kind."""
        return self.augment(keys.example, batch)

    def resolutions(self, views: Views) -> list[View]:
        """The views [B, V_r, ...] of every resolution: the main ones first, then those of other kinds by name."""
        return [self.given(views), *other_kinds(views, self.augment.inputs).values()]

    def student(
        self, params: dict, extra: dict, *views: View, noise: Array | None = None
    ) -> tuple[dict[str, Array], dict]:
        """Outputs [B, V, F] of each module by name, and the new BatchNorm statistics. `noise` is the key of dropout."""
        return forward_chain(self.chain, params, extra.get("batch_stats", {}), *views, bn=self.bn, noise=noise)

    def embeddings(self, params: dict, extra: dict, batch: Batch) -> dict[str, Array]:
        """The outputs [B, F] of the last module before the predictor, on the BatchNorm statistics of this batch."""
        if self.compares == "nothing":
            return {}
        chain = {name: module for name, module in self.chain.items() if name != "predictor"}
        record = given(self.augment.evaluation(batch, policy=self.view), self.augment.inputs)
        view = jax.tree.map(lambda x: x[:, None], record)
        always = jax.random.key(0)  # of dropout: the same units at every check
        outs, _ = forward_chain(chain, params, extra.get("batch_stats", {}), view, noise=always)
        name = list(chain)[-1]
        z = outs[name][:, 0]
        return {name: normalize(z) if self.compares == "directions" else z}


@dataclass(frozen=True)
class WithTeacher(JointEmbedding):
    """A joint-embedding method whose targets come from a moving average of the student's parameters.

    The teacher mirrors every module but the predictor. It runs BatchNorm on the statistics of its own batch, and its
    running statistics come from its own forward passes; both are as in MoCo, BYOL and MoCo v3. It moves after the
    optimiser's step. MoCo's code moves it before the next forward pass instead, which sees the same parameters.

    momentum_until: where a schedule of its momentum ends, see `ema.UNTIL`.
    """

    momentum_until: str = field(default="total", kw_only=True)

    def momentum_at(self, progress: Progress) -> Array | float:
        """The share of the teacher that stays."""
        raise NotImplementedError

    @property
    def taught(self) -> Chain:
        """The modules that the teacher has."""
        return {name: module for name, module in self.chain.items() if name != "predictor"}

    def init(self, key: Array, views: Views) -> State:
        """As every joint-embedding method; in `extra` also `teacher`, a copy of the student, and its statistics."""
        params, extra = super().init(key, views)
        copied = lambda tree: {k: jax.tree.map(jnp.copy, tree[k]) for k in self.taught if k in tree}  # noqa: E731
        stats = extra.get("batch_stats", {})
        if copied(stats):
            extra = extra | {"batch_stats": stats | {"teacher": copied(stats)}}
        return State(params, extra | {"teacher": copied(params)})

    @jax.named_scope("teacher")
    def teacher(self, extra: dict, *views: View, noise: Array | None = None) -> tuple[dict[str, Array], dict]:
        """Outputs [B, V, F] of the teacher's modules by name, without gradient, and its new BatchNorm statistics.

        It has dropout of its own, another draw of `noise` than the student: the authors' teachers are in training mode too.
        """
        stats = extra.get("batch_stats", {}).get("teacher", {})
        own = folded(noise, TEACHER)
        outs, stats = forward_chain(self.taught, extra["teacher"], stats, *views, bn=self.bn, noise=own)
        return jax.lax.stop_gradient(outs), {"teacher": stats} if stats else {}

    def update(self, params: dict, extra: dict, out: Out, progress: Progress) -> State:
        """Keep the BatchNorm statistics and move the teacher towards the student."""
        params, extra = super().update(params, extra, out, progress)
        student = {name: params[name] for name in extra["teacher"]}
        momentum = self.momentum_at(ending(progress, self.momentum_until))
        return State(params, extra | {"teacher": ema_update(extra["teacher"], student, momentum)})

    def encoders(self) -> dict[str, Encoder]:
        """`student` (what these papers evaluate) and `teacher`."""
        student = super().encoders()["student"]
        stats = ("extra", "batch_stats", "teacher", "encoder") if student.stats else ()
        return {"student": student, "teacher": replace(student, path=("extra", "teacher", "encoder"), stats=stats)}


def spread(z: Array) -> Mean:
    """Standard deviation over the batch of unit vectors z [B, ..., D], times sqrt(D) (SimSiam, fig. 2).

    1 where directions are uniform on the sphere, 0 after a collapse.
    """
    return mean_of(jnp.std(normalize(z), axis=0) * z.shape[-1] ** 0.5)


def refuse_set(objective: Objective, why: str, *names: str) -> None:
    """UserError where one of these fields, which the method does not look at, has been given a value."""
    for own in fields(objective):  # type: ignore[arg-type]  # every objective is a dataclass
        value = getattr(objective, own.name)
        if own.name in names and value != own.default:
            raise UserError(f"objective.{own.name}={value!r}: {type(objective).__name__} {why}; leave it out")


def require_positive(**values: float) -> None:
    """UserError unless every named field of the objective is greater than 0."""
    for name, value in values.items():
        if not value > 0:
            raise UserError(f"objective.{name}={value} must be greater than 0; papers use 0.05 to 1 for a temperature")


def few_rows(rows: int, prototypes: int, least: float, what: str = "prototypes") -> tuple[str, ...]:
    """A warning where Sinkhorn has fewer than `least` rows for each prototype to share them out evenly, else nothing."""
    share = rows / prototypes
    if share >= least:
        return ()
    return (
        f"objective.{what}={prototypes}: Sinkhorn balances them over {rows} rows, {share:.2g} for each, and published runs "
        f"have at least {least:.2g}; use at most {int(rows / least)} prototypes, a larger batch, or a queue where there is one",
    )
