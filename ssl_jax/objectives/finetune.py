"""Labels after pretraining: an encoder, adapted in whole or in part, and a linear layer on it.

What is frozen lies in `extra/frozen`, where no gradient and no moments are; `adapt` says what that is and how the encoder is made
of both (`ssl_jax/adapt`). From scratch is the same objective without `init_from`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from ssl_jax.adapt.base import Adaptation, Full
from ssl_jax.devices.mesh import shard_batch
from ssl_jax.errors import UserError
from ssl_jax.losses.mean import Mean
from ssl_jax.losses.mixing import Mixed, cutmix, mixup
from ssl_jax.losses.tasks import TASKS, Task, smoothed
from ssl_jax.models.heads import ProjectionHead, SymbolHead
from ssl_jax.models.transformer import NOISE
from ssl_jax.objectives.base import Batch, Encoder, Keys, Out, Progress, State, Views
from ssl_jax.objectives.shared.ema import ema_update
from ssl_jax.objectives.shared.forward import applied, arrays_of, init_variables, single
from ssl_jax.objectives.shared.labels import check_labels
from ssl_jax.objectives.shared.whole import Whole
from ssl_jax.objectives.supervised import Supervised

HEAD_STD = 2e-5  # of a new head: the first steps change the encoder little (MAE, BEiT)
FULL = Full()
MIXED_ROWS = "mixup and cutmix mix rows of the batch, and a microbatch has others; set both to 0"


@dataclass(frozen=True)
class Finetune(Supervised):
    """`Supervised`, of an encoder that may be frozen in part, for labels of any kind (`losses/tasks.py`).

    classes: how many the label has, or how many numbers.
    label: the field of the records that is learned.
    method: what is read of the encoder: features [B, F], for `task="tokens"` a row for every token ("__call__"), for "text"
      states of frames and which are valid ("told").
    task: "class", "classes" (several: the label is [K] of 0 and 1), "numbers", "tokens" (the label is [T], -1 for none), or
      "text" (symbols [L], 0 for none: CTC).
    adapt: what is learned of the encoder, a class of `ssl_jax/adapt`.
    smoothing: how much of a target is spread over all classes.
    mixup, cutmix: alpha of each, 0 for none; with both, a batch has one of them, at even odds.
    average: momentum of a moving average of what is learned, the encoder "average"; 0 for none.

    Fidelity: mixing draws one share for a batch, as the code of mixup and timm's default. Stochastic depth is the encoder's
    `drop_path`. BatchNorm keeps the statistics of pretraining unless all of the encoder is learned.
    """

    task: str = "class"
    adapt: Adaptation = FULL
    smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    average: float = 0.0

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UserError(f"objective.task={self.task!r} is unknown; use one of {', '.join(TASKS)}")
        for name, below in (("smoothing", 1.0), ("average", 1.0), ("mixup", np.inf), ("cutmix", np.inf)):
            if not 0 <= getattr(self, name) < below:
                raise UserError(f"objective.{name}={getattr(self, name)}: must be at least 0 and below {below:g}")
        if self.classes < 1:
            raise UserError(f"objective.classes={self.classes}: must be 1 or more")
        if (self.mixup or self.cutmix) and (self.task == "tokens" or len(self.augment.inputs) > 1):
            raise UserError("objective.mixup and .cutmix mix images; set both to 0 for texts")
        if self.task == "text" and (self.smoothing or self.method == "features"):
            raise UserError("objective.task=text has no smoothing, and reads frames: set smoothing=0 and method=told")

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The encoder, and one linear layer that starts near zero."""
        dtype, init = getattr(self.encoder, "dtype", "float32"), nn.initializers.normal(HEAD_STD)
        head = SymbolHead if self.task == "text" else partial(ProjectionHead, (), norm="none")
        return {"encoder": self.encoder, "head": head(out=self.classes, dtype=dtype, kernel_init=init)}

    @property
    def kind(self) -> Task:
        """What the labels are."""
        return TASKS[self.task]

    @property
    def labels(self) -> tuple[str, ...]:
        """The field that it learns from."""
        return (self.label,)

    def init(self, key: Array, views: Views) -> State:
        """`params`: what is learned of the encoder, and the head. `extra`, as needed: `frozen`, `batch_stats`, `average`."""
        key_encoder, key_head, key_adapt = jax.random.split(key, 3)
        view = arrays_of(single(self.given(views)))
        encoder, stats = init_variables(self.encoder, key_encoder, *view, method=self.method)
        h, _ = self._read(encoder, stats, view, key, train=False)
        head, _ = init_variables(self.modules["head"], key_head, *arrays_of(h))
        extra = {} if stats is None else {"batch_stats": {"encoder": stats}}
        return self.parted(State({"encoder": encoder, "head": head}, extra), key_adapt)

    def whole(self, state: State) -> State:
        """Encoder and head with all their parameters."""
        extra = {name: x for name, x in state.extra.items() if name not in ("frozen", "average")}
        return State(self._applied(state.params, state.extra), extra)

    def parted(self, state: State, key: Array) -> State:
        """The encoder as `adapt` parts it."""
        learned, frozen = self.adapt.parted(state.params["encoder"], key)
        params = state.params | {"encoder": learned}
        extra = state.extra | ({"frozen": {"encoder": frozen}} if frozen else {})
        return State(params, extra | ({"average": params} if self.average else {}))

    def _applied(self, params: dict, extra: dict) -> dict:
        frozen = extra.get("frozen", {}).get("encoder", {})
        return params | {"encoder": self.adapt.whole(params["encoder"], frozen)}

    def held_out_views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The views [B, 1, ...] of evaluation, and the labels."""
        given = self.augment.evaluation({k: v for k, v in batch.items() if k != self.label})
        return {name: given[name][:, None] for name in self.augment.inputs} | {self.label: batch[self.label]}

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """The task's loss on mixed and smoothed targets, and its measures on the training batch."""
        key_mix, key_noise = jax.random.split(key)
        view, labels = single(self.given(views)), views[self.label]
        targets = self.kind.targets(labels, self.classes)
        targets = smoothed(targets, self.smoothing) if self.smoothing else targets
        if self.mixup or self.cutmix:
            view, targets = self._mixed(key_mix, view, targets)
        logits, stats = self._logits(params, extra, view, key_noise, train=True)
        new = {} if stats is None else {"encoder": stats}
        return Out(
            {self.kind.name: self.kind.loss(logits, targets)}, self.kind.measures(logits, labels), batch_stats=new
        )

    def update(self, params: dict, extra: dict, out: Out, progress: Progress) -> State:
        """Move the average of what is learned."""
        params, extra = super().update(params, extra, out, progress)
        moved = {"average": ema_update(extra["average"], params, self.average)} if self.average else {}
        return State(params, extra | moved)

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """The task's measures; of the average, where there is one."""
        logits, _ = self._logits(extra.get("average", params), extra, single(self.given(views)), key, train=False)
        return self.kind.measures(logits, views[self.label])

    def encoders(self) -> dict[str, Encoder]:
        """The encoder with what it learned merged into it, "student", and "average" where one is kept."""
        student = replace(super().encoders()["student"], made=Whole(self))
        if not self.average:
            return {"student": student}
        return {"student": student, "average": replace(student, made=Whole(self, averaged=True))}

    def check_source(self, source: Any) -> None:
        """UserError for labels that are missing, or that are not such as `task` and `classes` say."""
        check_labels(source, self.label, self.task, self.classes)

    def accumulation_refusal(self, extra: dict) -> str | None:
        """Mixing, and BatchNorm that learns."""
        if self.mixup or self.cutmix:
            return MIXED_ROWS
        return super().accumulation_refusal(extra) if self.adapt.changes_statistics else None

    def _mixed(self, key: Array, images: Any, targets: Array) -> Mixed:
        key, key_which = jax.random.split(key)
        ways = [(mix, alpha) for mix, alpha in ((mixup, self.mixup), (cutmix, self.cutmix)) if alpha]
        made = [mix(key, images, targets, alpha) for mix, alpha in ways]
        if len(made) == 1:
            return made[0]
        first = jax.random.bernoulli(key_which)
        return Mixed(*(jnp.where(first, a, b) for a, b in zip(*made, strict=True)))

    def _logits(self, params: dict, extra: dict, view: Any, key: Array, train: bool) -> tuple[Array, Any]:
        """[B, K], or [B, T, K] for tokens, and the new BatchNorm statistics, None where they stay."""
        params, stats = self._applied(params, extra), extra.get("batch_stats", {}).get("encoder")
        arrays = tuple(shard_batch(x) for x in arrays_of(view))
        h, stats = self._read(params["encoder"], stats, arrays, key, train)
        return applied(self.modules["head"], params["head"], *map(shard_batch, arrays_of(h))), stats

    def _read(self, encoder: dict, stats: Any, arrays: tuple[Array, ...], key: Array, train: bool) -> tuple[Any, Any]:
        """What `method` makes of a view, and the new BatchNorm statistics, None where they stay."""
        learns = train and stats is not None and self.adapt.changes_statistics
        variables = {"params": encoder} | ({} if stats is None else {"batch_stats": stats})
        takes_train = "train" in inspect.signature(getattr(self.encoder, self.method)).parameters
        mode = {"train": train and (learns or stats is None)} if takes_train else {}
        read: Any = partial(
            self.encoder.apply, variables, *arrays, method=self.method, rngs={NOISE: key} if train else None, **mode
        )
        if not learns:
            return read(), None
        h, changed = read(mutable=["batch_stats"])
        return h, changed["batch_stats"]
