"""data2vec: what the upper layers of a teacher make of the whole input, told from what is not hidden of it.

Baevski, Hsu, Xu, Babu, Gu, Auli 2022, "data2vec: A General Framework for Self-supervised Learning in Speech, Vision and
Language", arXiv 2202.03555.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.data.augment import Augment
from ssl_jax.data.masks.rectangles import BlockMask, one_view, slots_of
from ssl_jax.data.panels import Panel, panel_of
from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError
from ssl_jax.losses.mean import mean_of
from ssl_jax.losses.regression import scaled_smooth_l1, standardize
from ssl_jax.models.grid import take_tokens
from ssl_jax.models.heads import FeatureHead
from ssl_jax.models.places import Lattice
from ssl_jax.models.transformer import NOISE, rescale_residuals
from ssl_jax.objectives.base import Batch, Encoder, Keys, Objective, Out, Progress, State, Views
from ssl_jax.objectives.shared.ema import ema_update, linear_momentum
from ssl_jax.objectives.shared.forward import applied, arrays_of, single
from ssl_jax.objectives.shared.masked_patches import greyed

LAYER_NORMS = ("layer", "instance", "none")
AVERAGED = ("transformer", "relative")  # the parts of an encoder that the teacher has of its own


@dataclass(frozen=True)
class Data2Vec(Objective):
    """The mean of the teacher's last `top` layers at hidden places, of any modality whose encoder is a `PlacesEncoder`.

    top: layers that are averaged, K.
    mask_ratio, smallest: blocks of places that hide so many of them: rectangles of patches, spans of tokens.
    momentum: of the teacher, from the first value to the second over the share `momentum_until` of the run.
    beta: where the smooth L1 loss stops being a square; 0 is the squared error.
    scale: factor on the sum over D; 0 is 1 / sqrt(D).
    layer_norm: of each averaged layer, without parameters: `layer` over the numbers of a place (pictures, text), `instance` over
        the places of each number (sound), or none.
    mean_norm: whether their mean is normalised as well.
    head: hidden widths of the head; () is one layer, None no head (the authors' pictures).

    Fidelity: as the authors' code: the teacher's own parts are its blocks and relative positions; all that embeds the input is
    the student's. Targets are the outputs of whole blocks; for sound and text theirs are those of the MLP before the residual. Of
    texts spans are hidden, where the authors hide single tokens.
    """

    encoder: nn.Module
    augment: Augment
    top: int = 8
    mask_ratio: float = 120 / 196
    smallest: int = 16
    momentum: tuple[float, float] = (0.9998, 0.9998)
    momentum_until: float = 1.0
    beta: float = 2.0
    scale: float = 0.0
    layer_norm: str = "layer"
    mean_norm: bool = False
    head: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.top <= self.encoder.depth:
            raise UserError(f"objective.top={self.top}: 1 to {self.encoder.depth}, the layers of the encoder")
        if not 0 < self.mask_ratio < 1:
            raise UserError(
                f"objective.mask_ratio={self.mask_ratio} must be between 0 and 1; pictures have 0.6, text 0.15"
            )
        if self.layer_norm not in LAYER_NORMS:
            raise UserError(f"objective.layer_norm={self.layer_norm!r}: one of {', '.join(LAYER_NORMS)}")
        if not 0 < self.momentum_until <= 1:
            raise UserError(f"objective.momentum_until={self.momentum_until} is a share of the run: above 0, at most 1")

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Encoder and, if there is one, head."""
        width, dtype = self.encoder.width, self.encoder.dtype
        head = {} if self.head is None else {"head": FeatureHead(tuple(self.head), width, dtype)}
        return {"encoder": self.encoder, **head}

    def init(self, key: Array, views: Views) -> State:
        """`params`: encoder, head. `extra`: teacher, a copy of the encoder."""
        key_encoder, key_head = jax.random.split(key)
        given = arrays_of(single(self.given(views)))
        params = {
            "encoder": self.encoder.init(key_encoder, *given, hidden=views["mask"][:, 0], method="at_places")["params"]
        }
        if self.head is not None:
            state = jnp.zeros((1, self.encoder.width), self.encoder.dtype)
            params["head"] = self.modules["head"].init(key_head, state)["params"]
        params = rescale_residuals(params)
        return State(params, {"teacher": {"encoder": jax.tree.map(jnp.copy, params["encoder"])}})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The views of the augmentation, and `mask` [B, 1, N], True on hidden places that are no padding."""
        views = self.augment(keys.example, batch)
        lattice = self.lattice(views)
        mask = self.masking(lattice)(jax.vmap(lambda k: jax.random.fold_in(k, 1))(keys.example))
        return views | {"mask": mask if lattice.valid is None else mask & lattice.valid[:, None]}

    def lattice(self, views: Views) -> Lattice:
        """The places of the main view."""
        return self.encoder.lattice(*arrays_of(single(self.given(views))))

    def masking(self, lattice: Lattice) -> BlockMask:
        """The mask sampler."""
        return one_view(tuple(lattice.grid), self.mask_ratio, self.smallest)

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Smooth L1 between what is told of hidden places and the teacher's layers there."""
        slots = slots_of(views["mask"], self.masking(self.lattice(views)).slots)
        target = take_tokens(self.target(extra, views), slots.index)
        told = take_tokens(self.student(params, views, key), slots.index)
        scale = self.scale or self.encoder.width**-0.5
        error = scaled_smooth_l1(self._through_head(params, told), target, slots.valid, self.beta, scale)
        # The spread of the targets over the batch shows a collapse, which lowers the loss.
        spread = jnp.std(target[:, 0].astype(wide(target.dtype)), axis=0)
        return Out({"prediction": error}, {"target_std": mean_of(spread)})

    def student(self, params: dict, views: Views, key: Array) -> Array:
        """States [B, N, D] of all places, a mask token at hidden ones."""
        options = {"hidden": views["mask"][:, 0], "train": True, "method": "at_places", "rngs": {NOISE: key}}
        return applied(self.encoder, params["encoder"], *arrays_of(single(self.given(views))), **options).tokens

    @jax.named_scope("teacher")
    def target(self, extra: dict, views: Views) -> Array:
        """The mean of the teacher's last layers [B, N, D], without gradient."""
        given = arrays_of(single(self.given(views)))
        _, layers = applied(self.encoder, extra["teacher"]["encoder"], *given, last=self.top, method="at_places")
        mean = self._layers_normed(layers, self.lattice(views)).mean(axis=0)
        return jax.lax.stop_gradient(standardize(mean, epsilon=1e-5) if self.mean_norm else mean)

    def update(self, params: dict, extra: dict, out: Out, progress: Progress) -> State:
        """Move the teacher's blocks towards the student's; what embeds the input is the student's."""
        until = self.momentum_until * progress.total
        momentum = linear_momentum(*self.momentum, Progress(jnp.minimum(progress.step, until), until))  # type: ignore[arg-type]
        student, before = params["encoder"], extra["teacher"]["encoder"]
        own = {name: before[name] for name in AVERAGED if name in before}
        moved = ema_update(own, {name: student[name] for name in own}, momentum)
        return State(params, extra | {"teacher": {"encoder": student | moved}})

    def encoders(self) -> dict[str, Encoder]:
        """`student` and `teacher`."""
        student = super().encoders()["student"]
        return {"student": student, "teacher": replace(student, path=("extra", "teacher", "encoder"))}

    def preview(self, views: Views) -> dict[str, Panel]:
        """What is left of pictures; for others, what the augmentation shows."""
        augment: Any = self.augment
        if not hasattr(augment, "denormalise"):
            return augment.panel(views)
        image = augment.denormalise(views[self.view][:, 0])
        masked = greyed(image, views["mask"][:, 0], self.encoder.patch)
        return {"masks": panel_of(augment.upright(jnp.stack([image, masked], axis=1)), ("input", "masked"))}

    def _through_head(self, params: dict, states: Array) -> Array:
        return states if self.head is None else applied(self.modules["head"], params["head"], states)

    def _layers_normed(self, layers: Array, lattice: Lattice) -> Array:
        if self.layer_norm == "layer":
            return standardize(layers, epsilon=1e-5)
        return layers if self.layer_norm == "none" else over_places(layers, lattice.valid)


def over_places(layers: Array, valid: Array | None) -> Array:
    """States [L, B, N, D], each number with mean 0 and variance 1 over the `valid` [B, N] places of its example."""
    layers = layers.astype(wide(layers.dtype))
    weight = jnp.ones(layers.shape[1:3], layers.dtype) if valid is None else valid.astype(layers.dtype)
    share = (weight / jnp.maximum(weight.sum(axis=1, keepdims=True), 1))[None, :, :, None]
    centred = layers - (layers * share).sum(axis=2, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2 * share).sum(axis=2, keepdims=True) + 1e-5)
