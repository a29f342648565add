"""DINOv2: DINO and iBOT with heads of their own, balanced targets, and features that keep their distance.

Oquab, Darcet, Moutakanni et al. 2023, "DINOv2: Learning Robust Visual Features without Supervision", arXiv 2304.07193;
registers: Darcet, Oquab, Mairal, Bojanowski 2023, arXiv 2309.16588.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import jax.numpy as jnp
from jax import Array

from ssl_jax.losses.koleo import koleo
from ssl_jax.losses.mean import Mean
from ssl_jax.objectives.base import Out, Progress, Views
from ssl_jax.objectives.shared.masked_distillation import MaskedDistillation


@dataclass(frozen=True)
class DINOv2(MaskedDistillation):
    """`L_DINO + L_iBOT + 0.1 L_KoLeo` (section 4), KoLeo on the class tokens of each global crop before the head.

    Fidelity: all terms have the weights that the authors' code optimises, which are not those that it logs. Its KoLeo looks
    for neighbours on one GPU: `koleo_groups` logical groups, 1 being the global batch. One global crop of each image is
    masked, at random, with a ratio drawn from `mask_ratio`; their batches have one crop in two masked too, over all images,
    and ratios spread evenly over a GPU's batch. Masks have slots for the largest ratio; empty slots count neither in the
    loss nor in Sinkhorn's sums. Rotated or padded batches, the high-resolution stage and distillation from a larger teacher
    are runs of their own, with another recipe. Shared heads (the authors' ViT-L/16 on ImageNet): `patch_prototypes=0`.
    """

    balancing: str = "sinkhorn"
    magnitude: bool = True
    patch_prototypes: int = 65536
    local_weight: float = 1.0
    patch_weight: float = 1.0
    koleo_weight: float = 0.1
    koleo_groups: int = 1

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Class tokens, masked patches and KoLeo."""
        student, teacher = self.student_tokens(params, views, key), self.teacher_tokens(extra, views)
        return self.terms(params, extra, views, student, teacher, progress)

    def terms(
        self, params: dict, extra: dict, views: Views, student: tuple[Array, ...], teacher: Array, progress: Progress
    ) -> Out:
        """The loss terms from the tokens of the crops."""
        large, small, out = self.class_terms(params, extra, student, teacher, progress)
        patch, sums = self.patch_term(params, extra, views, student[0], teacher, progress)
        apart = [koleo(student[0][:, crop, 0], self.koleo_groups) for crop in range(student[0].shape[1])]
        losses = {
            "dino_global": large,
            "dino_local": Mean(self.local_weight * small.total, small.weight),
            "ibot": Mean(self.patch_weight * patch.total, patch.weight),
            "koleo": Mean(self.koleo_weight * reduce(jnp.add, (k.total for k in apart)), apart[0].weight),
        }
        return out._replace(losses=losses, sums=out.sums | sums)

    def accumulation_refusal(self, extra: dict) -> str | None:
        """KoLeo and Sinkhorn compare rows of the global batch."""
        reason = "KoLeo looks for the nearest neighbour in the global batch; use objective.koleo_weight=0"
        return super().accumulation_refusal(extra) or (reason if self.koleo_weight else None)
