"""CLIP: a picture and its caption attract, and repel all others of the global batch. CLAP is the same of sounds.

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", arXiv 2103.00020; Wu et al. 2022,
"Large-scale Contrastive Language-Audio Pretraining", arXiv 2211.06687.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.losses.mean import Mean
from ssl_jax.losses.streamed.contrastive import two_way_info_nce
from ssl_jax.objectives.base import Out, Progress, State
from ssl_jax.objectives.shared.joint import require_positive
from ssl_jax.objectives.shared.towers import Towers


@dataclass(frozen=True)
class CLIP(Towers):
    """Cross-entropy in both directions between two towers (figure 3). With `hidden=(512,)` its heads are CLAP's.

    scale: of the cosines at first, 1 / temperature; its logarithm is learned.
    most: the scale is kept between 1 and this after each update (section 2.5).

    Fidelity: a record with the picture or the caption of another is no negative of it; in the original it is. CLAP's public port
    in transformers compares one direction twice; this is both, as in the paper and its authors' code.
    """

    scale: float = 1 / 0.07
    most: float = 100.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(scale=self.scale, most=self.most)

    def start(self) -> dict[str, Array]:
        """The logarithm of the scale."""
        return {"scale": jnp.log(jnp.float32(self.scale))}

    def compared(self, learned: dict[str, Array], u: Array, v: Array, same: Array) -> Mean:
        """InfoNCE in both directions."""
        return two_way_info_nce(u, v, jnp.exp(-learned["scale"]), self.method, same)

    def update(self, params: dict, extra: dict, out: Out, progress: Progress) -> State:
        """Keep every scale in its bounds."""
        bounded = jax.tree.map(lambda scale: jnp.clip(scale, 0, np.log(self.most)), params["logit"])
        return super().update(params | {"logit": bounded}, extra, out, progress)
