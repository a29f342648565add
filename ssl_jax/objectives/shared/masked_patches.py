"""What SimMIM, BEiT and MaskFeat share: a ViT sees mask tokens for hidden patches, and one layer tells what was there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.data.augment import Normalised
from ssl_jax.data.masks.rectangles import Slots, slots_of
from ssl_jax.data.panels import Panel, panel_of
from ssl_jax.errors import UserError
from ssl_jax.models.grid import Grid, Patch, grid_of, patchify, take_tokens, unpatchify
from ssl_jax.models.rows import Dense
from ssl_jax.models.transformer import rescale_residuals
from ssl_jax.objectives.base import Batch, Keys, Objective, Progress, State, Views
from ssl_jax.objectives.shared.forward import applied, drawing


class Masking(NamedTuple):
    """`draw` makes masks [B, 1, N] bool of the keys [B] of examples, which hide at most `slots` patches."""

    draw: Callable[[Array], Array]
    slots: int


@dataclass(frozen=True)
class MaskedPatches(Objective):
    """Subclasses say what is hidden (`masking`), how many numbers are told of a patch (`outputs`), and write the loss."""

    encoder: nn.Module
    augment: Normalised
    mask_ratio: float = 0.4

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise UserError(f"objective.mask_ratio={self.mask_ratio} must be between 0 and 1; papers use 0.4 to 0.6")

    def masking(self, grid: Grid) -> Masking:
        """The mask sampler on a grid of patches."""
        raise NotImplementedError

    def outputs(self, channels: int) -> int:
        """How many numbers the head tells of a patch of pictures with so many channels."""
        raise NotImplementedError

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Encoder and head, here that of pictures with one channel."""
        return {"encoder": self.encoder, "head": self.head(1)}

    def head(self, channels: int) -> Dense:
        """The last layer."""
        init = nn.initializers.truncated_normal(0.02)
        return Dense(self.outputs(channels), dtype=self.encoder.dtype, kernel_init=init)

    def init(self, key: Array, views: Views) -> State:
        """`params`: encoder, head; what ends a residual branch is smaller in deeper blocks (BEiT's code). No extra state."""
        key_encoder, key_head = jax.random.split(key)
        image, hidden = views[self.view][:, 0], views["mask"][:, 0]
        encoder = self.encoder.init(key_encoder, image, hidden, method="at_places")["params"]
        state = jnp.zeros((1, self.encoder.width), self.encoder.dtype)
        head = self.head(image.shape[-1]).init(key_head, state)["params"]
        return State(rescale_residuals({"encoder": encoder, "head": head}), {})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The views of the augmentation, the main one [B, 1, h, w, C], and `mask` [B, 1, N], True on hidden patches."""
        views = self.augment(keys.example, batch)
        mask_keys = jax.vmap(lambda k: jax.random.fold_in(k, 1))(keys.example)
        return views | {"mask": self.masking(self.grid(views)).draw(mask_keys)}

    def hidden(self, views: Views) -> Slots:
        """The hidden patches of each example, in slots of a fixed number."""
        return slots_of(views["mask"], self.masking(self.grid(views)).slots)

    def told(self, params: dict, views: Views, slots: Slots, key: Array | None = None) -> Array:
        """What the head says of the patches in `slots`, [B, M, outputs]; with `key`, as in training."""
        image = views[self.view][:, 0]
        options = {"method": "at_places", "train": key is not None, **drawing(key)}
        states = applied(self.encoder, params["encoder"], image, views["mask"][:, 0], **options).tokens
        return applied(self.head(image.shape[-1]), params["head"], take_tokens(states, slots.index))

    def grid(self, views: Views) -> Grid:
        """Patches along each axis."""
        return grid_of(views[self.view].shape, self.encoder.patch)

    def preview(self, views: Views) -> dict[str, Panel]:
        """The input and what is left of it."""
        rows = self.augment.upright(jnp.stack(self.before_and_after(views), axis=1))
        return {"masks": panel_of(rows, ("input", "masked"))}

    def before_and_after(self, views: Views) -> tuple[Array, Array]:
        """Pictures [B, h, w, C] in [0, 1], and the same with hidden patches in grey."""
        image = self.augment.denormalise(views[self.view][:, 0])
        return image, greyed(image, views["mask"][:, 0], self.encoder.patch)

    def filled(self, views: Views, slots: Slots, vectors: Array, note: str = "") -> dict[str, Panel]:
        """Input, masked input, and it with the patches `vectors` [B, M, patch length], as normalised pixels, in the `slots`."""
        patches = patchify(views[self.view][:, 0], self.encoder.patch)
        rows = jnp.arange(len(patches))[:, None]
        kept = jnp.where(slots.valid[..., None], vectors, take_tokens(patches, slots.index))
        whole = unpatchify(patches.at[rows, slots.index].set(kept), self.encoder.patch, self.grid(views))
        columns = (*self.before_and_after(views), self.augment.denormalise(whole))
        rows = self.augment.upright(jnp.stack(columns, axis=1))
        return {"reconstruction": panel_of(rows, ("input", "masked", "reconstruction"), note)}


def greyed(image: Array, hidden: Array, patch: Patch) -> Array:
    """Pictures [B, h, w, C] in [0, 1], grey where a patch is `hidden` [B, N]."""
    grey = jnp.where(hidden[..., None], 0.5, patchify(image, patch))
    return unpatchify(grey, patch, grid_of(image.shape, patch))
