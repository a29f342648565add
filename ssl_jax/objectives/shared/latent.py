"""What I-JEPA and V-JEPA share: a student sees part of the patches, and a predictor tells what the teacher, its moving average,
makes of the others when it sees all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.data.augment import Normalised
from ssl_jax.data.masks.multi_block import BlockMasks
from ssl_jax.data.panels import Panel, panel_of
from ssl_jax.errors import UserError
from ssl_jax.losses.regression import standardize
from ssl_jax.models.grid import Grid, grid_of, patchify, take_tokens, unpatchify
from ssl_jax.models.heads import BlockPredictor
from ssl_jax.models.transformer import rescale_residuals
from ssl_jax.models.vit import INITIALIZERS
from ssl_jax.objectives.base import Encoder, Objective, Out, Progress, State, Views
from ssl_jax.objectives.shared.ema import MOMENTA, ema_update, ending
from ssl_jax.objectives.shared.forward import applied, drawing

GREY = 0.5  # what stands for patches that are not shown


@dataclass(frozen=True)
class LatentPrediction(Objective):
    """Prediction of the teacher's layer-normalised features at hidden patches.

    predictor_width, predictor_depth, predictor_heads: of the narrow transformer that predicts; 0: as many heads as the encoder.
    momentum, momentum_schedule: of the teacher, from the first value to the second, "linear" as in their code, or "cosine".
    momentum_until: where that schedule ends, "total" (t / T, as in their code) or "last" (t / (T - 1)), see `ema.ending`.
    rescale: whether the residual projections of layer l start 1/sqrt(2 l) times as large, as in their code.
    predictor_initializer: how the layers of the predictor start, as `model.initializer`. "normal", a deviation of 0.02, is their
        code's for a width of 384, with which a narrow predictor passes on next to nothing of the context; "xavier" is for any.
    """

    encoder: nn.Module
    augment: Normalised
    predictor_width: int = 384
    predictor_depth: int = 6
    predictor_heads: int = 0
    momentum: tuple[float, float] = (0.996, 1.0)
    momentum_schedule: str = "linear"
    rescale: bool = True
    momentum_until: str = field(default="total", kw_only=True)
    predictor_initializer: str = field(default="normal", kw_only=True)

    def __post_init__(self) -> None:
        if self.encoder.prefix:
            raise UserError(
                f"{type(self).__name__}'s encoder has no class token and no registers; set class_token=False, registers=0"
            )
        for value, known, name in (
            (self.momentum_schedule, MOMENTA, "momentum_schedule"),
            (self.predictor_initializer, INITIALIZERS, "predictor_initializer"),
        ):
            if value not in known:
                raise UserError(f"{name}={value!r} is unknown; use one of {', '.join(known)}")

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Encoder and predictor."""
        return {"encoder": self.encoder, "predictor": self.predictor}

    @property
    def predictor(self) -> BlockPredictor:
        """The predictor, in the arithmetic of the encoder."""
        return self.narrow()

    def narrow(self, **options: Any) -> BlockPredictor:
        """A predictor whose `options` win."""
        sizes: dict[str, Any] = {"width": self.predictor_width, "depth": self.predictor_depth}
        sizes |= {"heads": self.predictor_heads or self.encoder.heads, "mlp_dim": 4 * self.predictor_width}
        sizes |= {"kernel_init": INITIALIZERS[self.predictor_initializer]}
        same = {k: getattr(self.encoder, k) for k in ("dtype", "remat", "attention") if hasattr(self.encoder, k)}
        return BlockPredictor(self.encoder.width, **(sizes | same | options))

    def init(self, key: Array, views: Views) -> State:
        """`params`: encoder, predictor. `extra`: teacher, a copy of the encoder."""
        key_encoder, key_predictor = jax.random.split(key)
        image, masks = views[self.view][:, 0], self.masks_in(views)[0]
        encoder = self.encoder.init(key_encoder, image)["params"]
        context = applied(self.encoder, encoder, image, masks.context)
        predictor = self.predictor.init(key_predictor, context, *masks, self.grid(views))["params"]
        params = {"encoder": encoder, "predictor": predictor}
        params = rescale_residuals(params) if self.rescale else params
        return State(params, {"teacher": {"encoder": jax.tree.map(jnp.copy, params["encoder"])}})

    def masks_in(self, views: Views) -> tuple[BlockMasks, ...]:
        """The masks of every setting."""
        raise NotImplementedError

    @jax.named_scope("teacher")
    def taught(self, extra: dict, views: Views) -> Array:
        """The teacher's layer-normalised features of all patches [B, N, D], without gradient."""
        tokens = applied(self.encoder, extra["teacher"]["encoder"], views[self.view][:, 0])
        return jax.lax.stop_gradient(standardize(tokens, epsilon=1e-5))

    def predicted(
        self, params: dict, views: Views, masks: BlockMasks, setting: int = 0, noise: Array | None = None
    ) -> Array:
        """Predicted features of the target blocks [B, M, T, D] from the context; with `noise` as in training."""
        seen = (masks.context, masks.context_valid)
        context = applied(self.encoder, params["encoder"], views[self.view][:, 0], *seen, **drawing(noise))
        return applied(self.predictor, params["predictor"], context, *masks, self.grid(views), setting)

    def update(self, params: dict, extra: dict, out: Out, progress: Progress) -> State:
        """Move the teacher towards the student."""
        schedule = MOMENTA[self.momentum_schedule]
        momentum = schedule(*self.momentum, ending(progress, self.momentum_until))
        teacher = ema_update(extra["teacher"], {"encoder": params["encoder"]}, momentum)
        return State(params, extra | {"teacher": teacher})

    def encoders(self) -> dict[str, Encoder]:
        """`teacher` (what the papers evaluate) and `student`."""
        student = super().encoders()["student"]
        return {"teacher": replace(student, path=("extra", "teacher", "encoder")), "student": student}

    def grid(self, views: Views) -> Grid:
        """Patches along each axis."""
        return grid_of(views[self.view].shape, self.encoder.patch)

    def only(self, views: Views, index: Array, valid: Array) -> Array:
        """The input [B, *axes, C] in [0, 1] with the patches `index` [B, K] that are `valid`, and grey elsewhere."""
        patches = patchify(self.augment.denormalise(views[self.view][:, 0]), self.encoder.patch)
        shown = jnp.zeros(patches.shape[:2], bool).at[jnp.arange(index.shape[0])[:, None], index].max(valid)
        return unpatchify(jnp.where(shown[..., None], patches, GREY), self.encoder.patch, self.grid(views))

    def panel(self, views: Views, columns: dict[str, Array]) -> Panel:
        """The input [B, *axes, C], and `columns` like it, by caption."""
        shown = {"input": self.augment.denormalise(views[self.view][:, 0]), **columns}
        return panel_of(jnp.stack(list(shown.values()), axis=1), tuple(shown))


def tokens_at(tokens: Array, index: Array) -> Array:
    """The tokens [B, N, D] of blocks of patches `index` [B, M, T] -> [B, M, T, D]."""
    return take_tokens(tokens, index.reshape(index.shape[0], -1)).reshape(*index.shape, -1)
