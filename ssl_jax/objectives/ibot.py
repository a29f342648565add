"""iBOT: DINO on class tokens, and the same for patches that the student cannot see.

Zhou, Wei, Wang, Shen, Xie, Yuille, Kong 2021, "iBOT: Image BERT Pre-Training with Online Tokenizer", arXiv 2111.07832.
"""

from __future__ import annotations

from dataclasses import dataclass

from jax import Array

from ssl_jax.losses.mean import Mean
from ssl_jax.objectives.base import Out, Progress, Views
from ssl_jax.objectives.shared.masked_distillation import MaskedDistillation


@dataclass(frozen=True)
class IBOT(MaskedDistillation):
    """`L_[CLS] + L_MIM`: eq. 3 across crops, eq. 2 on the masked patches of each global crop.

    Fidelity: one head serves class tokens and patches; the patch loss is the mean over the masked patches of a crop, then
    over all crops, masked or not; the patch centre sees all of the teacher's patches (as the authors' code does). Every crop
    is masked with probability one half. Their code draws ratios from 0.3 +- 0.2, which is `mask_ratio=(0.1, 0.5)`, and makes
    rectangles of at least a ninth of the grid (`mask_smallest`, a number of patches). Both temperatures share a schedule.
    """

    prototypes: int = 8192
    mask_scheme: str = "each"
    patch_centre: str = "all"
    class_weight: float = 1.0
    patch_weight: float = 1.0

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Class tokens over all pairs of crops, patches where they are masked."""
        student, teacher = self.student_tokens(params, views, key), self.teacher_tokens(extra, views)
        large, small, out = self.class_terms(params, extra, student, teacher, progress)
        patch, sums = self.patch_term(params, extra, views, student[0], teacher, progress)
        dino = Mean(self.class_weight * (large.total + small.total), large.weight)
        losses = {"dino": dino, "ibot": Mean(self.patch_weight * patch.total, patch.weight)}
        return out._replace(losses=losses, sums=out.sums | sums)
