"""DINO: a student on all crops of an image predicts what its own average makes of the two large ones.

Caron, Touvron, Misra, Jegou, Mairal, Bojanowski, Joulin 2021, "Emerging Properties in Self-Supervised Vision Transformers",
arXiv 2104.14294.
"""

from __future__ import annotations

from dataclasses import dataclass

from jax import Array

from ssl_jax.losses.mean import Mean
from ssl_jax.objectives.base import Out, Progress, Views
from ssl_jax.objectives.shared.distillation import SelfDistillation


@dataclass(frozen=True)
class DINO(SelfDistillation):
    """`min sum_i sum_{v != i} H(P_t(x_i), P_s(x_v))` with `P_t = softmax((g_t - c) / tau_t)` (eq. 1 to 4).

    Fidelity: the loss is the mean over pairs, the centre is applied before it moves, and the teacher moves after the
    optimiser, as in the authors' code. The teacher's temperature rises with every step; theirs rises with every epoch. Patch
    embedding and tokens start from the same truncated normal distribution as the other weights. Stochastic depth draws for
    every crop on its own. Lengths of the prototypes are 1 (`norm_last_layer`) unless `magnitude=True`.
    """

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Cross-entropy over all pairs of a global crop and another crop."""
        student = self.student_tokens(params, views, key)
        large, small, out = self.class_terms(params, extra, student, self.teacher_tokens(extra, views), progress)
        return out._replace(losses={"dino": Mean(large.total + small.total, large.weight)})
