"""I-JEPA: predict the teacher's features of hidden blocks from the features of the visible context.

Assran, Duval, Misra, Bojanowski, Vincent, Rabbat, LeCun, Ballas 2023, "Self-Supervised Learning from Images with a
Joint-Embedding Predictive Architecture", arXiv 2301.08243.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.masks.multi_block import BlockMasks, MultiBlock
from ssl_jax.data.panels import Panel
from ssl_jax.losses.mean import mean_of
from ssl_jax.losses.regression import smooth_l1
from ssl_jax.models.grid import Grid
from ssl_jax.objectives.base import Batch, Keys, Out, Progress, Views
from ssl_jax.objectives.shared.latent import LatentPrediction, tokens_at


@dataclass(frozen=True)
class IJEPA(LatentPrediction):
    """Multi-block prediction in feature space with an EMA target encoder.

    Fidelity: the loss is the smooth L1 of the authors' code (the paper's text says L2). Targets are layer-normalised
    without parameters, epsilon 1e-5. Masks have static shapes with padding that is masked out of attention and loss,
    instead of being cut to the smallest count in the batch; the context is cut at random to `context_tokens`, not from
    the bottom; corners reach the last row and column (`mask_policy="published"` does not); a context that is too small
    drops exclusions at once, without redrawing. The encoder has no class token. Their code counts a step before it sets rate and
    decay, so that its warm-up has (t + 1) / n (`schedule.count_from=1`) and its curves after it are a step ahead of ours.

    `context_sizes` are sizes of which one is drawn for each batch, as the authors' cutting gives it one by chance; empty: always
    `context_tokens`. On a grid of 4x4, 6, 12 and a draw of 5, 6, 12 and 13 learned the same.
    """

    augment: ImageViews
    target_scale: tuple[float, float] = (0.15, 0.2)
    target_aspect: tuple[float, float] = (0.75, 1.5)
    context_scale: tuple[float, float] = (0.85, 1.0)
    targets: int = 4
    min_keep: int = 10
    context_tokens: int = 0
    context_sizes: tuple[int, ...] = ()
    truncation: str = "random"
    mask_policy: str = "uniform_corner"

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """One view [B, 1, h, w, C] and the masks `context` [B, K], `targets` [B, M, T] with their validity."""
        views = self.augment(keys.example, batch)
        mask_keys = jax.vmap(lambda k: jax.random.fold_in(k, 1))(keys.example)
        return views | self.masking(self.grid(views))(mask_keys, keys.step)._asdict()

    def masking(self, grid: Grid) -> MultiBlock:
        """The mask sampler on a grid of patches."""
        return MultiBlock(
            grid, self.target_scale, self.target_aspect, self.context_scale, self.targets, self.min_keep,
            self.context_tokens, self.truncation, self.mask_policy, self.context_sizes,
        )  # fmt: skip

    def masks_in(self, views: Views) -> tuple[BlockMasks, ...]:
        """The only setting."""
        return (BlockMasks(*(views[name] for name in BlockMasks._fields)),)

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Smooth L1 between predicted and teacher features of the target blocks."""
        target = self.target(extra, views)
        prediction = self.predict(params, views, key)
        # Falling loss alone proves nothing: a collapse lowers it. The spread of the targets over the batch shows one.
        spread = mean_of(jnp.std(target[:, 0, 0].astype(jnp.float32), axis=0))
        return Out({"prediction": smooth_l1(prediction, target, views["targets_valid"])}, {"target_std": spread})

    def target(self, extra: dict, views: Views) -> Array:
        """Layer-normalised teacher features of the target blocks [B, M, T, D], without gradient."""
        return tokens_at(self.taught(extra, views), views["targets"])

    def predict(self, params: dict, views: Views, noise: Array | None = None) -> Array:
        """Predicted features of the target blocks [B, M, T, D]; with `noise` as in training."""
        return self.predicted(params, views, self.masks_in(views)[0], noise=noise)

    def preview(self, views: Views) -> dict[str, Panel]:
        """The input, the context, and each target block."""
        (masks,) = self.masks_in(views)
        blocks = zip(jnp.moveaxis(masks.targets, 1, 0), jnp.moveaxis(masks.targets_valid, 1, 0), strict=True)
        columns = {"context": self.only(views, masks.context, masks.context_valid)}
        columns |= {f"target {m}": self.only(views, *block) for m, block in enumerate(blocks, 1)}
        return {"masks": self.panel(views, columns)}
