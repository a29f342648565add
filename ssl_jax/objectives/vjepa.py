"""V-JEPA: predict the teacher's features of tubes that are hidden in every frame of a clip, from what is left of it.

Bardes, Garrido, Ponce, Chen, Rabbat, LeCun, Assran, Ballas 2024, "Revisiting Feature Prediction for Learning Visual
Representations from Video", arXiv 2404.08471. V-JEPA 2: Assran et al. 2025, arXiv 2506.09985.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.data.masks.multi_block import BlockMasks
from ssl_jax.data.masks.tube_blocks import TubeBlocks
from ssl_jax.data.panels import Panel
from ssl_jax.data.video.views import ClipViews
from ssl_jax.errors import UserError
from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.losses.regression import l1
from ssl_jax.models.grid import patch_length, unpatchify
from ssl_jax.models.heads import BlockPredictor
from ssl_jax.objectives.base import Batch, Keys, Out, Progress, Views
from ssl_jax.objectives.shared.forward import folded
from ssl_jax.objectives.shared.latent import GREY, LatentPrediction, tokens_at

SETTINGS: dict[str, dict[str, Any]] = {
    "short": {"blocks": 8, "scale": 0.15, "seen": 0.28, "hidden": 0.51},
    "long": {"blocks": 2, "scale": 0.7, "seen": 0.1, "hidden": 0.72},
}
SIMILARITY = (
    "Similarity: cosine of the predicted features of hidden tubelets to the teacher's, black is 0 or less, white 1."
)
OPTIONS = tuple(field.name for field in fields(TubeBlocks) if field.name != "grid")


@dataclass(frozen=True)
class VJEPA(LatentPrediction):
    """L1 between predicted and teacher features of hidden tubes, the mean of several settings of masks.

    masks: name of a setting -> options of `TubeBlocks`; (): the paper's two. Each is a pass of student and predictor, and has a
        term of the loss; one pass of the teacher serves all.
    shared_token: one mask token for all settings (V-JEPA 2) instead of one for each (V-JEPA). They start at zero.

    V-JEPA has an encoder of `positions="sincos"` and a momentum that rises to 1; V-JEPA 2 one of `positions="rope"`, with
    `rope_places="indices"`, a base of 10000 and, for its checkpoints, `rope_tiled`, which the predictor shares, and a constant
    momentum.

    Fidelity: as the authors' code: targets are layer-normalised without parameters, epsilon 1e-5, and only shown patches are
    embedded and encoded. Masks have static shapes: where more patches are hidden or seen than there is room for, some are
    left out at random, instead of cutting all masks of a batch to the smallest count, last frames first; padding is masked
    out of attention and loss. Block sizes are fixed by `scale` and drawn by `aspect` once a step, corners once an example.
    """

    augment: ClipViews
    predictor_depth: int = 12
    momentum: tuple[float, float] = (0.998, 1.0)
    predictor_heads: int = 12
    masks: Mapping[str, Mapping[str, Any]] | tuple = ()
    shared_token: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        settings = dict(self.masks or SETTINGS)
        for name in settings:
            if "/" in name or name == self.view:
                raise UserError(f"objective.masks.{name}: name a setting by a word that is no view's, such as short")
            for option in dict(settings[name]).keys() - set(OPTIONS):
                raise UserError(f"objective.masks.{name} has no option {option!r}; there are {', '.join(OPTIONS)}")
        frozen = tuple((name, _hashable(settings[name])) for name in sorted(settings))
        object.__setattr__(self, "masks", frozen)

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """The options of each setting, in the order of their names, whatever order a file has."""
        return {name: dict(options) for name, options in cast(tuple, self.masks)}

    @property
    def predictor(self) -> BlockPredictor:
        """The predictor, with the encoder's kind of positions, and a mask token for each setting."""
        encoder, tokens = self.encoder, 1 if self.shared_token else len(self.settings)
        turned = {"positions": "rope", "rope_base": encoder.rope_base, "rope_tiled": encoder.rope_tiled}
        return self.narrow(
            mask_tokens=tokens, mask_init=jax.nn.initializers.zeros, unroll=encoder.unroll, attention=encoder.attention,
            **(turned if encoder.positions == "rope" else {}),
        )  # fmt: skip

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """One view [B, 1, T, h, w, C], and of each setting `<name>/context` [B, K] and `<name>/targets` [B, 1, M] with
        their validity."""
        views = self.augment(keys.example, batch)
        for number, (name, options) in enumerate(self.settings.items(), 1):
            example = jax.vmap(partial(jax.random.fold_in, data=number))(keys.example)
            masks = TubeBlocks(self.grid(views), **options)(example, jax.random.fold_in(keys.step, number))
            views = views | {f"{name}/{field}": x for field, x in masks._asdict().items()}
        return views

    def masks_in(self, views: Views) -> tuple[BlockMasks, ...]:
        """Those of every setting."""
        return tuple(BlockMasks(*(views[f"{name}/{field}"] for field in BlockMasks._fields)) for name in self.settings)

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """The mean over settings of the L1 error on their hidden patches."""
        taught, losses = self.taught(extra, views), {}
        for name, (masks, prediction) in self.told(params, views, key).items():
            error = l1(prediction, tokens_at(taught, masks.targets), masks.targets_valid)
            losses[name] = Mean(error.total / len(self.settings), error.weight)
        # Falling loss alone proves nothing: a collapse lowers it. The spread of the targets over the batch shows one.
        return Out(losses, {"target_std": mean_of(jnp.std(taught.astype(jnp.float32), axis=0))})

    def told(self, params: dict, views: Views, noise: Array | None = None) -> dict[str, tuple[BlockMasks, Array]]:
        """The masks of each setting, and what is predicted with them [B, 1, M, D]."""
        tokens = (0 if self.shared_token else number for number in range(len(self.settings)))
        passes = zip(self.settings, self.masks_in(views), tokens, strict=True)
        return {
            name: (masks, self.predicted(params, views, masks, token, folded(noise, number)))
            for number, (name, masks, token) in enumerate(passes)
        }

    def preview(self, views: Views) -> dict[str, Panel]:
        """The clip, and what each setting leaves of it."""
        seen = {
            name: self.only(views, masks.context, masks.context_valid)
            for name, masks in zip(self.settings, self.masks_in(views), strict=True)
        }
        return {"masks": self.panel(views, seen)}

    def show(self, params: dict, extra: dict, views: Views) -> dict[str, Panel]:
        """The clip, and for each setting how near the predicted features of hidden patches are to the teacher's."""
        taught, maps = self.taught(extra, views), {}
        for name, (masks, prediction) in self.told(params, views).items():
            maps[f"{name} context"] = self.only(views, masks.context, masks.context_valid)
            near = similarity(prediction, tokens_at(taught, masks.targets))
            maps[f"{name} similarity"] = self._map(views, masks, near)
        return {"prediction": replace(self.panel(views, maps), note=SIMILARITY)}

    def _map(self, views: Views, masks: BlockMasks, values: Array) -> Array:
        """Values [B, 1, M] of the hidden patches at their places, and grey elsewhere [B, T, h, w, C]."""
        grid, clips = self.grid(views), views[self.view]
        rows, beyond = jnp.arange(clips.shape[0])[:, None], math.prod(grid)
        index = jnp.where(masks.targets_valid, masks.targets, beyond)[:, 0]
        placed = jnp.full((len(rows), beyond), GREY).at[rows, index].set(values[:, 0], mode="drop")
        length = patch_length(self.encoder.patch, clips.shape[-1])
        return unpatchify(jnp.repeat(placed[..., None], length, axis=2), self.encoder.patch, grid)


def _hashable(options: Mapping[str, Any] | tuple) -> tuple:
    """Options with tuples in the place of lists."""
    pairs = sorted(dict(options).items())
    return tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in pairs)


def similarity(a: Array, b: Array) -> Array:
    """Cosines of vectors [..., D], where those below zero are zero."""
    lengths = jnp.linalg.norm(a, axis=-1) * jnp.linalg.norm(b, axis=-1)
    return jnp.maximum((a * b).sum(-1) / jnp.maximum(lengths, 1e-6), 0.0)
