"""The head of DINO and its successors: an MLP, a unit vector, and its products with K prototypes."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError
from ssl_jax.losses.contrastive import normalize
from ssl_jax.models.rows import gelu

LAST_LAYERS = ("weight_norm", "linear")
UNIFORM = nn.initializers.variance_scaling(
    1 / 3, "fan_in", "uniform"
)  # within 1/sqrt(inputs), as torch's linear layers start


class PrototypeHead(nn.Module):
    """(Dense, GELU) x (layers - 1), Dense to `bottleneck`, L2 normalisation, prototypes (arXiv 2104.14294, appendix C).

    `last_layer="weight_norm"`: prototypes are unit vectors, times a learned length each if `magnitude` (DINOv2), so that
    logits without it are cosines. `"linear"`: they are as long as they like (DINOv3). All weights start normal with a deviation
    of 0.02 but prototypes that are normalised, which start as torch's linear layers do: the longer, the slower AdamW turns them.
    """

    prototypes: int = 65536
    hidden: int = 2048
    bottleneck: int = 256
    layers: int = 3
    last_layer: str = "weight_norm"  # weight_norm | linear
    magnitude: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Features [..., D] -> logits [..., K] in float32 or wider."""
        init = nn.initializers.normal(0.02)
        for i in range(self.layers - 1):
            x = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=init, name=f"dense{i}")(x)
            x = gelu(x)
        x = normalize(nn.Dense(self.bottleneck, dtype=self.dtype, kernel_init=init, name="dense_out")(x))
        start = UNIFORM if self.last_layer == "weight_norm" else init
        kernel = self.param("prototypes", start, (self.bottleneck, self.prototypes))
        if self.last_layer == "weight_norm":
            kernel = normalize(kernel.T).T
        logits = jnp.matmul(x.astype(self.dtype), kernel.astype(self.dtype), preferred_element_type=wide(self.dtype))
        if self.magnitude:
            logits = logits * self.param("magnitude", nn.initializers.ones_init(), (1, self.prototypes))[0]
        return logits

    def __post_init__(self) -> None:
        if self.last_layer not in LAST_LAYERS:
            raise UserError(f"last_layer={self.last_layer!r} is unknown; use one of {', '.join(LAST_LAYERS)}")
        super().__post_init__()
