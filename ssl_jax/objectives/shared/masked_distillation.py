"""What iBOT, DINOv2 and DINOv3 share: masked patches of the student predict the teacher's view of the same patches."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.data.masks.rectangles import BlockMask, slots_of
from ssl_jax.data.panels import Panel, Pictures
from ssl_jax.errors import UserError
from ssl_jax.losses.distillation import masked_patch_cross_entropy
from ssl_jax.losses.mean import Mean
from ssl_jax.models.grid import grid_of, patchify, unpatchify
from ssl_jax.models.prototype_head import PrototypeHead
from ssl_jax.objectives.base import Batch, Keys, Progress, Views
from ssl_jax.objectives.shared.distillation import SelfDistillation
from ssl_jax.objectives.shared.forward import applied

PATCH_CENTRES = ("all", "masked")


@dataclass(frozen=True)
class MaskedDistillation(SelfDistillation):
    """Self-distillation of class tokens and of masked patches.

    mask_ratio, mask_scheme, mask_smallest: of `BlockMask`.
    patch_prototypes, patch_hidden, patch_bottleneck: of a second head for patches; 0 prototypes share the first.
    patch_centre: which of the teacher's patches its running mean sees, `all` or the `masked` ones.
    """

    mask_ratio: tuple[float, float] = (0.1, 0.5)
    mask_scheme: str = "one"
    mask_smallest: int = 4
    patch_prototypes: int = 0
    patch_hidden: int = 2048
    patch_bottleneck: int = 256
    patch_centre: str = "masked"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patch_centre not in PATCH_CENTRES:
            raise UserError(f"objective.patch_centre={self.patch_centre!r}: one of {', '.join(PATCH_CENTRES)}")

    @property
    def heads(self) -> dict[str, PrototypeHead]:
        """`head` for class tokens, and `patch_head` unless it is the same."""
        if not self.patch_prototypes:
            return super().heads
        patch = self.prototype_head(self.patch_prototypes, self.patch_hidden, self.patch_bottleneck)
        return {**super().heads, "patch_head": patch}

    @property
    def centres(self) -> dict[str, int]:
        """One for class tokens, one for patches."""
        return {**super().centres, "patch": self.patch_prototypes or self.prototypes}

    def masking(self, views: Views) -> BlockMask:
        """The mask sampler on the grid of the global crops."""
        grid = grid_of(views[self.view].shape, self.encoder.patch)
        return BlockMask(grid, views[self.view].shape[1], self.mask_ratio, self.mask_scheme, self.mask_smallest)

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The crops of every size, and `mask` [B, G, N], True on the hidden patches of the global crops."""
        views = super().views(keys, batch, progress)
        mask_keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys.example)
        return views | {"mask": self.masking(views)(mask_keys)}

    def patch_term(
        self, params: dict, extra: dict, views: Views, student: Array, teacher: Array, progress: Progress
    ) -> tuple[Mean, dict]:
        """The patch loss from the tokens [B, G, T, D] of the global crops, and the sums that move the centre."""
        name = "patch_head" if self.patch_prototypes else "head"
        head, prefix = self.heads[name], self.encoder.prefix
        batch, crops = student.shape[:2]
        slots = slots_of(views["mask"], self.masking(views).slots)

        def patches(tokens: Array) -> Array:
            return tokens[:, :, prefix:].reshape(batch, -1, tokens.shape[-1])

        def hidden(rows: Array) -> Array:
            return jnp.take_along_axis(rows, slots.index[..., None], axis=1)

        logits = applied(head, params[name], hidden(patches(student)))
        teach = lambda x: applied(head, extra["teacher"][name], x)  # noqa: E731
        if self.patch_centre == "all" and self.balancing == "centre":
            every, sums = self.teach("patch", teach(patches(teacher)), extra, progress)
            targets = hidden(every)
        else:
            targets, sums = self.teach("patch", teach(hidden(patches(teacher))), extra, progress, slots.valid)
        logits, targets = (x.reshape(-1, x.shape[-1]) for x in (logits, targets))
        weights = slots.weight.reshape(-1).astype(targets.dtype)
        return masked_patch_cross_entropy(logits, targets, weights, self.student_temperature, batch * crops), sums

    def preview(self, views: Views) -> dict[str, Panel]:
        """The crops of each size, and the global crops with their masks."""
        image, patch = self.augment.denormalise(views[self.view]), self.encoder.patch
        batch, crops = image.shape[:2]
        vectors = patchify(image.reshape(-1, *image.shape[2:]), patch)
        hidden = views["mask"].reshape(batch * crops, -1, 1)
        shown = unpatchify(jnp.where(hidden, 0.5, vectors), patch, grid_of(image.shape, patch)).reshape(image.shape)
        return super().preview(views) | {"masks": Pictures(shown, tuple(f"view {i + 1}" for i in range(crops)))}
