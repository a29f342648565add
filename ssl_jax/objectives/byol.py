"""BYOL: the student predicts what a slowly moving average of itself makes of the other view.

Grill, Strub, Altche, Tallec, Richemond, Buchatskaya, Doersch, Avila Pires, Guo, Gheshlaghi Azar, Piot, Kavukcuoglu, Munos,
Valko 2020, "Bootstrap your own latent", arXiv 2006.07733.
"""

from __future__ import annotations

from dataclasses import dataclass

from jax import Array

from ssl_jax.losses.regression import normalized_error
from ssl_jax.objectives.base import Out, Progress, Views
from ssl_jax.objectives.shared.ema import cosine_momentum
from ssl_jax.objectives.shared.forward import Chain
from ssl_jax.objectives.shared.joint import WithTeacher, spread


@dataclass(frozen=True)
class BYOL(WithTeacher):
    """`|q(z_1) - sg(z'_2)|^2 + |q(z_2) - sg(z'_1)|^2` of unit vectors (eq. 2); `z'` is the teacher's projection.

    Fidelity: projector and predictor as in the authors' code (hidden Dense with a bias, the last without, no last norm).
    The teacher starts as a copy of the student; theirs starts from other random numbers. Each view of the global batch is
    one BatchNorm batch, as theirs over all TPU cores. Their online classifier does not influence the features and is left
    to the probes.
    """

    hidden: int = 4096
    out: int = 256
    momentum: tuple[float, float] = (0.996, 1.0)
    head_norm: str = "batch"

    @property
    def modules(self) -> Chain:
        """Encoder f, projector g, predictor q."""
        head = self.mlp((self.hidden,), self.out, norm=self.head_norm, bias=True, out_bias=False)
        return {"encoder": self.encoder, "projector": head, "predictor": head}

    def momentum_at(self, progress: Progress) -> Array:
        """From 0.996 to 1 along half a cosine (section 3.1)."""
        return cosine_momentum(*self.momentum, progress)

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """The error of both predictions, added up and averaged over the batch."""
        online, stats = self.student(params, extra, self.given(views), noise=key)
        target, taught = self.teacher(extra, self.given(views), noise=key)
        error = normalized_error(online["predictor"], target["projector"][:, ::-1])
        both = error._replace(total=2 * error.total)
        return Out({"regression": both}, {"z_std": spread(target["projector"])}, batch_stats=stats | taught)
