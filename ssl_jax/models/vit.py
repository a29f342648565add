"""Vision transformer encoders (Dosovitskiy et al. 2020, arXiv 2010.11929; MAE's token dropping, He et al. 2021)."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.errors import UserError
from ssl_jax.models.tokens import grid_of, patchify, sincos_2d, take_tokens
from ssl_jax.models.transformer import Transformer
from ssl_jax.precision import wide

# width, depth, heads, MLP width
VARIANTS = {
    "Ti": (192, 12, 3, 768),
    "S": (384, 12, 6, 1536),
    "B": (768, 12, 12, 3072),
    "L": (1024, 24, 16, 4096),
    "H": (1280, 32, 16, 5120),
    "g": (1408, 40, 16, 6144),
}


class ViT(nn.Module):
    """A ViT whose tokens can be dropped before the patch embedding.

    Prefix tokens (class token first, then registers) come before the patch tokens. `positions="sincos"` is a constant
    table and `"learned"` a parameter; neither is added to registers, and the class token's code is zero or learned.
    """

    width: int = 192
    depth: int = 12
    heads: int = 3
    mlp_dim: int = 768
    patch: int = 16
    positions: str = "sincos"  # sincos | learned
    class_token: bool = True
    registers: int = 0
    pool: str = "mean"  # mean of the patch tokens | class token
    dtype: str = "float32"
    remat: str = "full"
    unroll: int = 1
    attention: str = "xla"
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()

    @property
    def prefix(self) -> int:
        """How many tokens stand before the patch tokens."""
        return int(self.class_token) + self.registers

    @nn.compact
    def __call__(self, image: Array, keep: Array | None = None, valid: Array | None = None) -> Array:
        """Tokens [B, prefix + N, D] after the final LayerNorm.

        Args:
            image: [B, H, W, C] normalised.
            keep: [B, K] indices of the patches to encode; the others are never embedded. None encodes all N.
            valid: [B, K] bool; False marks a kept slot that is padding and that no token may attend to.
        """
        grid = grid_of(image.shape, self.patch)
        patches = patchify(image.astype(self.dtype), self.patch)
        table = self._position_table(grid)
        batch = image.shape[0]
        if keep is None:
            position = table[None]
        else:
            patches, position = take_tokens(patches, keep), table[keep]
        x = nn.Dense(self.width, dtype=self.dtype, kernel_init=self.kernel_init, name="patch_embed")(patches)
        x = x + position.astype(x.dtype)
        prefix = self._prefix_tokens(x.dtype)
        x = jnp.concatenate([jnp.broadcast_to(t, (batch, *t.shape[1:])) for t in prefix] + [x], axis=1)
        if valid is not None and self.prefix:
            valid = jnp.concatenate([jnp.ones((batch, self.prefix), bool), valid], axis=1)
        stack = Transformer(
            self.depth, self.heads, self.mlp_dim, self.dtype, self.remat, self.unroll, self.attention, self.kernel_init,
            name="transformer",
        )  # fmt: skip
        return stack(x, valid)

    def features(self, image: Array, train: bool = False) -> Array:
        """Pooled features [B, D] of whole images: what probes see. `train` has no effect (no dropout, no BatchNorm)."""
        tokens = self(image)
        if self.pool == "class":
            return tokens[:, 0]
        return tokens[:, self.prefix :].mean(axis=1, dtype=wide(tokens.dtype))

    def _position_table(self, grid: tuple[int, int]) -> Array:
        if self.positions == "sincos":
            return jnp.asarray(sincos_2d(self.width, grid), self.dtype)
        return self.param("positions", nn.initializers.normal(0.02), (grid[0] * grid[1], self.width))

    def _prefix_tokens(self, dtype: jnp.dtype) -> list[Array]:
        tokens = []
        if self.class_token:
            token = self.param("class_token", nn.initializers.normal(0.02), (1, 1, self.width))
            if self.positions == "learned":
                token = token + self.param("class_position", nn.initializers.normal(0.02), (1, 1, self.width))
            tokens.append(token.astype(dtype))
        if self.registers:
            init = nn.initializers.normal(0.02)
            tokens.append(self.param("registers", init, (1, self.registers, self.width)).astype(dtype))
        return tokens

    def __post_init__(self) -> None:
        if self.pool == "class" and not self.class_token:
            raise UserError("pool='class' needs class_token=True; use pool='mean'")
        for value, known, name in (
            (self.pool, ("mean", "class"), "pool"),
            (self.positions, ("sincos", "learned"), "positions"),
        ):
            if value not in known:
                raise UserError(f"{name}={value!r} is unknown; use one of {', '.join(known)}")
        super().__post_init__()


def vit(variant: str = "Ti", **options: object) -> ViT:
    """A ViT of a named size: Ti, S, B, L, H or g. `options` are fields of `ViT` and win over the variant's."""
    if variant not in VARIANTS:
        raise UserError(f"variant={variant!r} is unknown; use one of {', '.join(VARIANTS)}")
    width, depth, heads, mlp_dim = VARIANTS[variant]
    return ViT(**({"width": width, "depth": depth, "heads": heads, "mlp_dim": mlp_dim} | options))
