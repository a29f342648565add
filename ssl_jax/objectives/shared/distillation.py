"""What DINO, iBOT, DINOv2 and DINOv3 share: a token encoder on crops of several sizes, prototype heads, a sharpened and
balanced teacher. The main views [B, G, ...] are the global crops, which the teacher sees; those whose name starts with `local`
are local crops, of any number of sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.data.image.views import ImageViews
from ssl_jax.errors import UserError
from ssl_jax.losses.distillation import entropy, multicrop_cross_entropy
from ssl_jax.losses.mean import Mean
from ssl_jax.losses.prototypes import centred_softmax, sinkhorn
from ssl_jax.models.grid import grid_of
from ssl_jax.models.prototype_head import PrototypeHead
from ssl_jax.models.transformer import NOISE
from ssl_jax.objectives.base import Batch, Out, Progress, State, Views
from ssl_jax.objectives.shared.ema import cosine_momentum, move_centre
from ssl_jax.objectives.shared.forward import Chain, applied
from ssl_jax.objectives.shared.joint import WithTeacher, few_rows, refuse_set

BALANCING = ("centre", "sinkhorn", "none")


@dataclass(frozen=True)
class TokenTeacher(WithTeacher):
    """A ViT student on all crops, and a teacher, its moving average, on the global crops.

    Fidelity: momentum and weight decay move by t / T, as in the code of DINO, iBOT and DINOv2. Their warm-up of the rate reaches
    its peak at step n - 1 (t / (n - 1)), ours at step n.
    """

    augment: ImageViews
    momentum: tuple[float, float] = (0.996, 1.0)

    def __post_init__(self) -> None:
        if not getattr(self.encoder, "class_token", False):
            raise UserError(f"{type(self).__name__} reads the class token; set model.class_token=True on a ViT")
        refuse_set(self, "has no groups of rows for BatchNorm", "bn")
        for name, policy in self.augment.policies.items():
            try:
                grid_of((*(policy.pixels or self.augment.pixels), 1), self.encoder.patch)
            except UserError as error:
                raise UserError(f"augment.views.{name}.{error}") from None

    def momentum_at(self, progress: Progress) -> Array:
        """Half a cosine from the first to the last value (DINO, section 3.1)."""
        return cosine_momentum(*self.momentum, progress)

    def crops(self, views: Views) -> tuple[Array, ...]:
        """The crops of every size, [B, V_r, h, w, C]; global crops first, then the others by name."""
        return (views[self.view], *(views[name] for name in sorted(views) if name.startswith("local")))

    def init_encoder(self, key: Array, views: Views) -> dict:
        """Fresh parameters of the encoder for these crops and, where there are any, masks."""
        masks = self.masks(views)
        return self.encoder.init(key, self.crops(views), masks, method="crops")["params"]

    def masks(self, views: Views) -> tuple[Array | None, ...] | None:
        """Masks of the crops of every size; None where nothing is masked."""
        if "mask" not in views:
            return None
        return (views["mask"], *(None for _ in self.crops(views)[1:]))

    def student_tokens(self, params: dict, views: Views, key: Array) -> tuple[Array, ...]:
        """Tokens [B, V_r, T, D] of the crops of every size, with masks and stochastic depth."""
        crops, masks = self.crops(views), self.masks(views)
        options: dict[str, Any] = {"train": True, "method": "crops", "rngs": {NOISE: key}}
        return applied(self.encoder, params["encoder"], crops, masks, **options)

    def class_tokens(self, params: dict, batch: Batch) -> Array:
        """The student's class tokens [B, 1, D] of records as at evaluation."""
        image = self.augment.evaluation(batch)[self.view][:, None]
        return applied(self.encoder, params["encoder"], (image,), method="crops")[0][:, :, 0]

    @jax.named_scope("teacher")
    def teacher_tokens(self, extra: dict, views: Views) -> Array:
        """The teacher's tokens [B, G, T, D] of the global crops, neither masked nor dropped, without gradient."""
        params = jax.lax.stop_gradient(extra["teacher"]["encoder"])
        return applied(self.encoder, params, (views[self.view],), method="crops")[0]


class Teaching(NamedTuple):
    """Targets of one kind of row, and what goes with them into `Out`."""

    targets: Array
    sums: dict[str, tuple[Array, Array]]


@dataclass(frozen=True)
class SelfDistillation(TokenTeacher):
    """Prototype heads and the targets made from the teacher's.

    prototypes, hidden, bottleneck, last_layer, magnitude: of `PrototypeHead`.
    student_temperature: > 0. teacher_temperature: from the first value to the second, in a straight line over the share
        `temperature_warmup` of the run, constant after.
    balancing: how the teacher's use of prototypes is kept even: `centre` subtracts a running mean (`centre_momentum`),
        `sinkhorn` balances the rows of the global batch, `none` collapses.
    """

    prototypes: int = 65536
    hidden: int = 2048
    bottleneck: int = 256
    last_layer: str = "weight_norm"
    magnitude: bool = False
    student_temperature: float = 0.1
    teacher_temperature: tuple[float, float] = (0.04, 0.07)
    temperature_warmup: float = 0.3
    balancing: str = "centre"
    centre_momentum: float = 0.9
    sinkhorn_iterations: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        own = ("head_initializer", "head_bias", "head_out_bias")
        refuse_set(self, "has a head of prototypes, which starts as its authors'", *own)
        for name in ("student_temperature", "teacher_temperature"):
            value = getattr(self, name)
            if not min(value if isinstance(value, tuple) else (value,)) > 0:
                raise UserError(f"objective.{name}={value} must be > 0; DINO uses 0.1 for the student, 0.04 to 0.07")
        if self.balancing not in BALANCING:
            raise UserError(f"objective.balancing={self.balancing!r} is unknown; use one of {', '.join(BALANCING)}")

    @property
    def modules(self) -> Chain:
        """Encoder and heads."""
        return {"encoder": self.encoder, **self.heads}

    @property
    def heads(self) -> dict[str, PrototypeHead]:
        """The heads by their name in `params`; `head` reads class tokens."""
        return {"head": self.prototype_head(self.prototypes, self.hidden, self.bottleneck)}

    def prototype_head(self, prototypes: int, hidden: int, bottleneck: int) -> PrototypeHead:
        """A head in the arithmetic of the encoder."""
        return PrototypeHead(
            prototypes, hidden, bottleneck, last_layer=self.last_layer, magnitude=self.magnitude,
            dtype=self.encoder.dtype,
        )  # fmt: skip

    @property
    def centres(self) -> dict[str, int]:
        """Names and lengths of the running means."""
        return {"class": self.prototypes}

    def init(self, key: Array, views: Views) -> State:
        """`params`: encoder and heads. `extra`: teacher, a copy of them; centres, if any, at 0."""
        key, key_encoder = jax.random.split(key)
        params = {"encoder": self.init_encoder(key_encoder, views)}
        for name, fresh in zip(self.heads, jax.random.split(key, len(self.heads)), strict=True):
            params[name] = self.heads[name].init(fresh, jnp.zeros((1, self.encoder.width)))["params"]
        extra = {"teacher": jax.tree.map(jnp.copy, params)}
        if self.balancing == "centre":
            extra["centre"] = {name: jnp.zeros(length) for name, length in self.centres.items()}
        return State(params, extra)

    def embeddings(self, params: dict, extra: dict, batch: Batch) -> dict[str, Array]:
        """The student's logits [B, K] of class tokens."""
        return {"head": applied(self.heads["head"], params["head"], self.class_tokens(params, batch))[:, 0]}

    def assignments(self, params: dict, extra: dict, batch: Batch) -> dict[str, Array]:
        """The teacher's class targets [B, K], at its last temperature; without Sinkhorn, which depends on the batch."""
        teacher = extra["teacher"]
        logits = applied(self.heads["head"], teacher["head"], self.class_tokens(teacher, batch))[:, 0]
        centre = extra["centre"]["class"] if "centre" in extra else jnp.zeros((), logits.dtype)
        return {"head": centred_softmax(logits, centre, self.teacher_temperature[1])}

    def temperature_at(self, progress: Progress) -> Array:
        """The teacher's temperature."""
        start, end = self.teacher_temperature
        return start + (end - start) * jnp.minimum(
            progress.step / max(self.temperature_warmup * progress.total, 1), 1.0
        )

    @jax.named_scope("teacher")
    def teach(self, name: str, logits: Array, extra: dict, progress: Progress, valid: Array | None = None) -> Teaching:
        """Targets [..., K] from the teacher's `logits` [..., K]; rows that are not `valid` [...] count nowhere."""
        logits, temperature = jax.lax.stop_gradient(logits), self.temperature_at(progress)
        rows = logits.reshape(-1, logits.shape[-1])
        if self.balancing == "sinkhorn":
            flat = None if valid is None else valid.reshape(-1)
            targets = sinkhorn(rows, temperature, self.sinkhorn_iterations, flat)
            return Teaching(targets.reshape(logits.shape), {})
        if self.balancing == "none":
            return Teaching(centred_softmax(logits, jnp.zeros((), logits.dtype), temperature), {})
        counted = jnp.ones(len(rows), rows.dtype) if valid is None else valid.reshape(-1).astype(rows.dtype)
        targets = centred_softmax(logits, extra["centre"][name], temperature)
        return Teaching(targets, {name: (counted @ rows, counted.sum())})

    def class_terms(
        self, params: dict, extra: dict, student: tuple[Array, ...], teacher: Array, progress: Progress
    ) -> tuple[Mean, Mean, Out]:
        """DINO's terms of global and of local crops from their tokens, and an `Out` with metrics and sums."""
        head = self.heads["head"]
        logits = applied(head, params["head"], jnp.concatenate([t[:, :, 0] for t in student], axis=1))
        taught = applied(head, extra["teacher"]["head"], teacher[:, :, 0])
        targets, sums = self.teach("class", taught, extra, progress)
        terms = multicrop_cross_entropy(logits, targets, self.student_temperature)
        return *terms, Out({}, {"teacher_entropy": entropy(targets)}, sums)

    def update(self, params: dict, extra: dict, out: Out, progress: Progress) -> State:
        """Move the teacher and the centres."""
        params, extra = super().update(params, extra, out, progress)
        centres = {
            name: move_centre(extra["centre"][name], total, count, self.centre_momentum)
            for name, (total, count) in dict(out.sums).items()
        }
        return State(params, extra | ({"centre": centres} if centres else {}))

    def warnings(self, batch_size: int) -> tuple[str, ...]:
        """Few class tokens for each prototype that Sinkhorn balances: DINOv3 has 8192 for 262144."""
        crops = self.augment.policies[self.view].count
        return few_rows(crops * batch_size, self.prototypes, 1 / 32) if self.balancing == "sinkhorn" else ()

    def accumulation_refusal(self, extra: dict) -> str | None:
        """With Sinkhorn: a microbatch would be balanced on its own."""
        if self.balancing == "sinkhorn":
            return "Sinkhorn balances all rows of the global batch; use objective.balancing='centre'"
        return None
