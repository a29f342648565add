"""I-JEPA: predict the teacher's features of hidden blocks from the features of the visible context.

Assran, Duval, Misra, Bojanowski, Vincent, Rabbat, LeCun, Ballas 2023, "Self-Supervised Learning from Images with a
Joint-Embedding Predictive Architecture", arXiv 2301.08243.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.masks.multi_block import MultiBlock
from ssl_jax.data.panels import Panel, Pictures
from ssl_jax.errors import UserError
from ssl_jax.losses.mean import mean_of
from ssl_jax.losses.regression import smooth_l1, standardize
from ssl_jax.models.grid import Grid, grid_of, patchify, take_tokens, unpatchify
from ssl_jax.models.heads import BlockPredictor
from ssl_jax.models.transformer import rescale_residuals
from ssl_jax.objectives.base import Batch, Encoder, Keys, Objective, Out, Progress, State, Views
from ssl_jax.objectives.shared.ema import MOMENTA, ema_update
from ssl_jax.objectives.shared.forward import applied


@dataclass(frozen=True)
class IJEPA(Objective):
    """Multi-block prediction in feature space with an EMA target encoder.

    Fidelity: the loss is the smooth L1 of the authors' code (the paper's text says L2). Targets are layer-normalised
    without parameters, epsilon 1e-5. Masks have static shapes with padding that is masked out of attention and loss,
    instead of being cut to the smallest count in the batch; the context is cut at random to `context_tokens`, not from
    the bottom; corners reach the last row and column (`mask_policy="published"` does not); a context that is too small
    drops exclusions at once, without redrawing. The encoder has no class token.

    `context_sizes` are sizes of which one is drawn for each batch, as the authors' cutting gives it one by chance; empty: always
    `context_tokens`. `predictor_heads` is 0 for the encoder's. `momentum_schedule` is linear as theirs, or cosine.
    `rescale` starts the residual projections of layer l times 1/sqrt(2 l), as theirs.
    """

    encoder: nn.Module
    augment: ImageViews
    predictor_width: int = 384
    predictor_depth: int = 6
    momentum: tuple[float, float] = (0.996, 1.0)
    target_scale: tuple[float, float] = (0.15, 0.2)
    target_aspect: tuple[float, float] = (0.75, 1.5)
    context_scale: tuple[float, float] = (0.85, 1.0)
    targets: int = 4
    min_keep: int = 10
    context_tokens: int = 0
    context_sizes: tuple[int, ...] = ()
    predictor_heads: int = 0
    momentum_schedule: str = "linear"  # linear | cosine
    rescale: bool = True
    truncation: str = "random"
    mask_policy: str = "uniform_corner"

    def __post_init__(self) -> None:
        if self.encoder.prefix:
            raise UserError("I-JEPA's encoder has no class token and no registers; set class_token=False, registers=0")
        if self.momentum_schedule not in MOMENTA:
            raise UserError(f"momentum_schedule={self.momentum_schedule!r} is unknown; use one of {', '.join(MOMENTA)}")

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Encoder and predictor."""
        return {"encoder": self.encoder, "predictor": self._predictor}

    def init(self, key: Array, views: Views) -> State:
        """`params`: encoder, predictor. `extra`: teacher, a copy of the encoder."""
        key_encoder, key_predictor = jax.random.split(key)
        image, grid = views[self.view][:, 0], self._grid(views)
        encoder = self.encoder.init(key_encoder, image)["params"]
        context = applied(self.encoder, encoder, image, views["context"])
        masks = (views["context"], views["context_valid"], views["targets"], views["targets_valid"])
        predictor = self._predictor.init(key_predictor, context, *masks, grid)["params"]
        params = {"encoder": encoder, "predictor": predictor}
        params = rescale_residuals(params) if self.rescale else params
        return State(params, {"teacher": {"encoder": jax.tree.map(jnp.copy, params["encoder"])}})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """One view [B, 1, h, w, C] and the masks `context` [B, K], `targets` [B, M, T] with their validity."""
        views = self.augment(keys.example, batch)
        mask_keys = jax.vmap(lambda k: jax.random.fold_in(k, 1))(keys.example)
        return views | self.masking(self._grid(views))(mask_keys, keys.step)._asdict()

    def masking(self, grid: Grid) -> MultiBlock:
        """The mask sampler on a grid of patches."""
        return MultiBlock(
            grid, self.target_scale, self.target_aspect, self.context_scale, self.targets, self.min_keep,
            self.context_tokens, self.truncation, self.mask_policy, self.context_sizes,
        )  # fmt: skip

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Smooth L1 between predicted and teacher features of the target blocks."""
        target = self.target(extra, views)
        valid = views["targets_valid"]
        prediction = self.predict(params, views)
        # Falling loss alone proves nothing: a collapse lowers it. The spread of the targets over the batch shows one.
        spread = jnp.std(target[:, 0, 0].astype(jnp.float32), axis=0)
        return Out({"prediction": smooth_l1(prediction, target, valid)}, {"target_std": mean_of(spread)})

    def target(self, extra: dict, views: Views) -> Array:
        """Layer-normalised teacher features of the target blocks [B, M, T, D], without gradient."""
        tokens = applied(self.encoder, extra["teacher"]["encoder"], views[self.view][:, 0])
        tokens = jax.lax.stop_gradient(standardize(tokens, epsilon=1e-5))
        index = views["targets"]
        return take_tokens(tokens, index.reshape(index.shape[0], -1)).reshape(*index.shape, -1)

    def predict(self, params: dict, views: Views) -> Array:
        """Predicted features of the target blocks [B, M, T, D]."""
        masks = (views["context"], views["context_valid"])
        context = applied(self.encoder, params["encoder"], views[self.view][:, 0], *masks)
        targets = (views["targets"], views["targets_valid"])
        return applied(self._predictor, params["predictor"], context, *masks, *targets, self._grid(views))

    def update(self, params: dict, extra: dict, out: Out, progress: Progress) -> State:
        """Move the teacher towards the student."""
        momentum = MOMENTA[self.momentum_schedule](*self.momentum, progress)
        teacher = ema_update(extra["teacher"], {"encoder": params["encoder"]}, momentum)
        return State(params, extra | {"teacher": teacher})

    def encoders(self) -> dict[str, Encoder]:
        """`teacher` (what the paper evaluates) and `student`."""
        student = super().encoders()["student"]
        return {"teacher": replace(student, path=("extra", "teacher", "encoder")), "student": student}

    def preview(self, views: Views) -> dict[str, Panel]:
        """The input, the context, and each target block."""
        image = self.augment.denormalise(views[self.view][:, 0])
        patches = patchify(image, self.encoder.patch)

        def only(index: Array, valid: Array) -> Array:
            shown = jnp.zeros(patches.shape[:2], bool).at[jnp.arange(index.shape[0])[:, None], index].max(valid)
            return unpatchify(jnp.where(shown[..., None], patches, 0.5), self.encoder.patch, self._grid(views))

        targets = [only(views["targets"][:, m], views["targets_valid"][:, m]) for m in range(self.targets)]
        columns = [image, only(views["context"], views["context_valid"]), *targets]
        captions = ("input", "context", *(f"target {m + 1}" for m in range(self.targets)))
        return {"masks": Pictures(jnp.stack(columns, axis=1), captions)}

    def _grid(self, views: Views) -> Grid:
        return grid_of(views[self.view].shape, self.encoder.patch)

    @property
    def _predictor(self) -> BlockPredictor:
        return BlockPredictor(
            self.encoder.width, self.predictor_width, self.predictor_depth, self.predictor_heads or self.encoder.heads,
            4 * self.predictor_width, self.encoder.dtype, self.encoder.remat,
        )  # fmt: skip
