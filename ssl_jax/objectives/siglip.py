"""SigLIP: every pair of a picture and a caption of the global batch is a question of its own, whether they belong together.

Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", arXiv 2303.15343.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from ssl_jax.losses.mean import Mean
from ssl_jax.losses.streamed.contrastive import sigmoid_pairwise
from ssl_jax.objectives.shared.joint import require_positive
from ssl_jax.objectives.shared.towers import Towers


@dataclass(frozen=True)
class SigLIP(Towers):
    """A logistic loss of all pairs between two towers (eq. 1). On several devices the captions go round a ring (section 3.3).

    scale: of the cosines at first; its logarithm is learned. shift: added to them, learned; nearly all pairs are no partners.

    Fidelity: a pair of records with the same picture or caption does not count; in the original it counts as no partners.
    """

    method: str = "ring"
    scale: float = 10.0
    shift: float = -10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(scale=self.scale)

    def start(self) -> dict[str, Array]:
        """The logarithm of the scale, and the bias."""
        return {"scale": jnp.log(jnp.float32(self.scale)), "bias": jnp.float32(self.shift)}

    def compared(self, learned: dict[str, Array], u: Array, v: Array, same: Array) -> Mean:
        """The logistic loss."""
        return sigmoid_pairwise(u, v, jnp.exp(learned["scale"]), learned["bias"], self.method, same)
