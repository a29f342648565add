"""Vision transformer encoders (Dosovitskiy et al. 2020, arXiv 2010.11929): token dropping (MAE), mask tokens (iBOT),
registers, rotary positions and several resolutions at once (DINOv2, DINOv3)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError
from ssl_jax.models.attention import Qkv, rotate
from ssl_jax.models.drop_path import DropPath, Section, split_sections
from ssl_jax.models.grid import (
    KINDS,
    TABLES,
    Grid,
    Patch,
    by,
    cell_means,
    centres,
    grid_of,
    patchify,
    places,
    resize_tokens,
    rope,
    sides,
)
from ssl_jax.models.layer import Layer
from ssl_jax.models.mask import Mask
from ssl_jax.models.places import Lattice, Places
from ssl_jax.models.pooling import AttentionPool
from ssl_jax.models.relative import GridBias
from ssl_jax.models.rows import Dense, LayerNorm
from ssl_jax.models.transformer import NOISE, STACK, Style, Transformer

# width, depth, heads, MLP width
VARIANTS = {
    "Ti": (192, 12, 3, 768),
    "S": (384, 12, 6, 1536),
    "B": (768, 12, 12, 3072),
    "L": (1024, 24, 16, 4096),
    "H": (1280, 32, 16, 5120),
    "g": (1408, 40, 16, 6144),
}
POSITIONS = (*TABLES, "learned", "rope", "relative")
ROPE_PLACES = {"centres": centres, "indices": places}
INITIALIZERS = {"xavier": nn.initializers.xavier_uniform(), "normal": nn.initializers.normal(0.02)}
INTERPOLATION_OFFSET = 0.1  # what DINO and DINOv2 add to the size when they resize learned positions


class ViT(nn.Module):
    """A ViT whose tokens can be dropped or masked, on series, images or clips of one or several sizes.

    `patch` says which: a number is the side of a square of an image [B, H, W, C]; a tuple has one size for each axis, `(16,)` for
    series [B, T, C], `(16, 8)` for spectrograms, `(2, 16, 16)` for clips [B, T, H, W, C].

    Prefix tokens (class token first, then registers) come before the patch tokens. `positions="sincos"` is a constant
    table of the places along each axis, `"sequence"` one of the place in the sequence, and `"learned"` a parameter for a `grid`
    of patches (default: that of the first image it sees), resampled along each axis for images of other sizes; none is added to
    registers, and the class token's code is zero or learned. `"rope"` turns queries and keys of patches instead, at their
    `rope_places`, in training rescaled by a factor between `1/rope_rescale` and `rope_rescale`, drawn once for each size:
    `"centres"` from -1 to 1 and a base of 100 are DINOv3's, `"indices"`, 10000 and `rope_tiled` (a slip that checkpoints need,
    see `rope`) V-JEPA 2's. `"relative"` adds a learned number for each head and offset of two places to the logits of all
    blocks (BEiT), for a `grid` as large as that of any image. `mlp_dim` is the hidden width of the MLP. `embedding_norm` is a
    LayerNorm of what enters the blocks (CLIP). `read_block` is the block after which `features` reads the tokens, as the norm
    of the next one gives them (iGPT; BEiT's linear probe); 0 is the end.
    """

    width: int = 192
    depth: int = 12
    heads: int = 3
    mlp_dim: int = 768
    patch: Patch = 16
    positions: str = "sincos"  # sincos | sequence | learned | rope | relative
    class_token: bool = True
    registers: int = 0
    pool: str = "mean"  # mean of the patch tokens | class token | class_mean: both | map: attention to all tokens
    cells: int | tuple[int, ...] = 1  # pool="mean" averages each of so many parts of every axis on its own
    dtype: str = "float32"
    remat: str = "full"
    unroll: int = 1
    attention: str = "xla"
    initializer: str = "xavier"  # xavier | normal (0.02)
    mlp: str = "gelu"  # gelu | gelu_tanh | quick_gelu | relu | swiglu
    layer_scale: float | None = None
    qkv_bias: str = "all"  # all | query_value | none
    norm_epsilon: float = 1e-6
    drop_path: float = 0.0
    drop_path_mode: str = "linear"  # linear | subset
    drop_path_groups: int = 1
    grid: Grid | None = None
    rope_base: float = 100.0
    rope_places: str = "centres"  # centres | indices
    rope_tiled: bool = False
    rope_rescale: float = 1.0
    embedding_norm: bool = False
    local_norm: bool = False  # class token and registers of all sizes but the first have a final LayerNorm of their own
    adapter: int = 0  # the width of bottlenecks after all branches (Houlsby et al. 2019); 0: none
    final_norm: bool = True
    read_block: int = 0

    def setup(self) -> None:
        """The pooling that has parameters."""
        if self.pool == "map":
            self.map = AttentionPool(
                self.heads, self.mlp_dim, self.dtype, self.mlp, self.norm_epsilon, self._kernel_init
            )

    @property
    def prefix(self) -> int:
        """How many tokens stand before the patch tokens."""
        return int(self.class_token) + self.registers

    def __call__(self, image: Array, keep: Array | None = None, valid: Array | None = None) -> Array:
        """Tokens [B, prefix + N, D] after the final LayerNorm.

        Args:
            image: [B, *axes, C] normalised: [B, H, W, C], or as `patch` says.
            keep: [B, K] indices of the patches to encode; the others are never embedded. None encodes all N.
            valid: [B, K] bool; False marks a kept slot that is padding and that no token may attend to.

        Stochastic depth and rotary scales are drawn where there is a stream `noise`.
        """
        kept = None if keep is None else (keep[:, None],)
        return self.crops((image[:, None],), keep=kept, valid=valid, train=self.has_rng(NOISE))[0][:, 0]

    def crops(
        self,
        images: tuple[Array, ...],
        masks: tuple[Array | None, ...] | None = None,
        keep: tuple[Array | None, ...] | None = None,
        valid: Array | None = None,
        train: bool = False,
    ) -> tuple[Array, ...]:
        """Tokens [B, V, prefix + N, D] of the crops of every size, after the final LayerNorm. The arguments are those of
        `outputs`."""
        return self.outputs(images, masks, keep, valid, train)[0]

    @nn.compact
    def outputs(
        self,
        images: tuple[Array, ...],
        masks: tuple[Array | None, ...] | None = None,
        keep: tuple[Array | None, ...] | None = None,
        valid: Array | None = None,
        train: bool = False,
        last: int = 0,
    ) -> tuple[tuple[Array, ...], Array | None]:
        """Tokens [B, V, prefix + N, D] of the crops of every size, after the final LayerNorm, and before it those after each of
        the `last` blocks, packed.

        What works on single tokens sees those of all crops in one array; attention is one call for each size.

        Args:
            images: for each size, [B, V, *axes, C] normalised.
            masks: for each size, [B, V, N] bool or None; masked patches are replaced by the mask token, before positions.
            keep: for each size, [B, V, K] indices of the patches to encode, or None for all.
            valid: [B, K] as in `__call__`; only with one crop.
            train: draw stochastic depth and rotary scales from the stream `noise`.
            last: how many blocks' outputs are returned; None in their place where it is 0.
        """
        self._check_axes(images)
        self._check_positions(images, keep)
        grids = [grid_of(image.shape, self.patch) for image in images]
        kept = keep or (None,) * len(images)
        sequences = self._behind_prefix(self._tokens(images, grids, masks, kept))
        if valid is not None and self.prefix:
            valid = jnp.concatenate([jnp.ones((valid.shape[0], self.prefix), bool), valid], axis=1)
        sections = tuple(Section(*s.shape[1:3]) for s in sequences)
        stack, turned = self._stack(), self._rotations(grids, kept, train)
        x = _pack(sequences)
        x = LayerNorm(self.norm_epsilon, self.dtype, name="normed")(x) if self.embedding_norm else x
        bias = self._bias(grids[0])
        out, layers = stack.outputs(x, Mask(valid), sections, turned, train, bias, last=last)
        return tuple(_like(split_sections(out, sections), sequences)), layers

    def _check_positions(self, images: tuple[Array, ...], keep: tuple[Array | None, ...] | None) -> None:
        if self.positions == "relative" and (keep is not None or len(images) > 1):
            raise UserError(
                "positions='relative' needs all patches of images of one size; use another kind of positions where patches are "
                "dropped (MAE, I-JEPA) or crops have several sizes (DINO)"
            )
        if keep is not None and self.positions == "rope" and self.drop_path and self.drop_path_mode == "subset":
            raise UserError(
                "positions='rope' with dropped patches turns every example by its own table, which drop_path_mode='subset' "
                "would not follow; use drop_path_mode=linear"
            )

    def _tokens(
        self,
        images: tuple[Array, ...],
        grids: list[Grid],
        masks: tuple[Array | None, ...] | None,
        keep: tuple[Array | None, ...],
    ) -> list[Array]:
        """The tokens [B, V, K, D] of the patches to encode, of each size, at their positions."""
        tables = self._position_tables(grids)
        found = [self._patches(*of_size) for of_size in zip(images, tables, keep, strict=True)]
        patches, positions = [p for p, _ in found], [table for _, table in found]
        x = Dense(self.width, dtype=self.dtype, kernel_init=self._kernel_init, name="patch_embed")(_pack(patches))
        if masks is not None:
            x = self._masked(x, masks, patches)
        if self.positions in (*TABLES, "learned"):
            x = x + _pack(positions).astype(x.dtype)
        bodies = tuple(Section(*part.shape[1:3]) for part in patches)
        return _like(split_sections(x, bodies), patches)

    def _patches(self, image: Array, table: Array, kept: Array | None) -> tuple[Array, Array]:
        """The patches [B, V, K, P] of crops of one size that are encoded, and their rows [B, V, K, D] of the table."""
        flat = patchify(image.reshape(-1, *image.shape[2:]).astype(self.dtype), self.patch)
        part = flat.reshape(*image.shape[:2], *flat.shape[1:])
        if kept is not None:
            part, table = jnp.take_along_axis(part, kept[..., None], axis=2), table[kept]
        return part, jnp.broadcast_to(table, (*part.shape[:3], self.width))

    def _behind_prefix(self, sequences: list[Array]) -> list[Array]:
        """The same tokens behind those of the prefix."""
        prefix = self._prefix_tokens(sequences[0].dtype)
        return [
            jnp.concatenate([jnp.broadcast_to(t, (*s.shape[:2], *t.shape[1:])) for t in prefix] + [s], axis=2)
            for s in sequences
        ]

    def _stack(self) -> Transformer:
        drop = DropPath(self.drop_path, self.drop_path_mode, self.drop_path_groups)
        return Transformer(
            self.depth, self.heads, self.mlp_dim, self.dtype, self.remat, self.unroll, self.attention,
            self._kernel_init, self.mlp, self.layer_scale, self.qkv_bias, self.norm_epsilon, drop,
            self.prefix if self.local_norm else 0, Style(final_norm=self.final_norm), adapter=self.adapter,
            name="transformer",
        )  # fmt: skip

    def layers(self, image: Array, last: int) -> list[Layer]:
        """States of whole images after each of the `last` blocks, each normalised as the last one is (DINOv2's
        `get_intermediate_layers(norm=True)`), if it is.
        """
        _, states = self.outputs((image[:, None],), last=last)
        stack = self.variables["params"]["transformer"]
        normed: Any = self._normed(stack["norm"], states) if self.final_norm else states  # type: ignore[arg-type]
        grid = grid_of(image.shape, self.patch)
        return [
            Layer(x[:, self.prefix :].reshape(len(x), *grid, -1), x[:, 0] if self.class_token else None) for x in normed
        ]

    def last_attention(self, image: Array) -> Array:
        """Softmax weights [B, H, P + N, P + N] of the last block on whole images, queries before keys: for pictures of them.

        They are computed once more, from what the block was given, so that no form of attention has to hand them out. The network
        has two blocks or more.
        """
        _, (given, _) = self.outputs((image[:, None],), last=2)  # type: ignore[misc]
        block = jax.tree.map(lambda x: x[-1], self.variables["params"]["transformer"][STACK])
        normed = self._normed(block["norm1"], given)
        heads = Qkv(self.heads, self.qkv_bias, self.dtype, self._kernel_init, parent=None)
        projected: Any = heads.apply({"params": block["qkv"]}, normed)
        query, key = projected[:, :, 0], projected[:, :, 1]
        turned = self._rotations([grid_of(image.shape, self.patch)], (None,), False)
        if turned is not None:
            query, key = rotate(query, turned[0]), rotate(key, turned[0])
        kind = wide(query.dtype)
        logits = jnp.einsum("bqhd,bkhd->bhqk", query * query.shape[-1] ** -0.5, key, preferred_element_type=kind)
        return jax.nn.softmax(logits + self._learned_bias(grid_of(image.shape, self.patch)))

    def features(self, image: Array, train: bool = False) -> Array:
        """Pooled features [B, F] of whole images: what probes see. F is D, times the number of cells.

        `train` draws stochastic depth and rotary scales where there is a stream `noise`; without it, it has no effect.
        """
        noisy = train and self.has_rng(NOISE)
        tokens = self._read(image, noisy)
        if self.pool == "class":
            return tokens[:, 0]
        if self.pool == "map":
            return self.map(tokens)
        means = cell_means(tokens[:, self.prefix :], grid_of(image.shape, self.patch), self.cells)
        return means if self.pool == "mean" else jnp.concatenate([tokens[:, 0].astype(means.dtype), means], axis=-1)

    def lattice(self, image: Array) -> Lattice:
        """The patches of images."""
        return Lattice(grid_of(image.shape, self.patch))

    def at_places(self, image: Array, hidden: Array | None = None, last: int = 0, train: bool = False) -> Places:
        """States [B, N, D] of the patches of whole images; the mask token stands where `hidden` [B, N] is True."""
        masks = None if hidden is None else (hidden[:, None],)
        (tokens,), layers = self.outputs((image[:, None],), masks, train=train, last=last)
        return Places(tokens[:, 0, self.prefix :], None if layers is None else layers[:, :, self.prefix :])

    def _read(self, image: Array, train: bool) -> Array:
        """What `features` is made of, [B, prefix + N, D]."""
        if not self.read_block:
            return self.crops((image[:, None],), train=train)[0][:, 0]
        _, layers = self.outputs((image[:, None],), train=train, last=self.depth - self.read_block + 1)
        following = jax.tree.map(lambda x: x[self.read_block], self.variables["params"]["transformer"][STACK]["norm1"])
        return self._normed(following, layers[0])  # type: ignore[index]

    def _normed(self, params: Any, x: Array) -> Array:
        """`x` after a LayerNorm whose parameters are given."""
        return LayerNorm(self.norm_epsilon, self.dtype, parent=None).apply({"params": params}, x)  # type: ignore[return-value]

    def frame_features(self, clip: Array) -> Array:
        """The mean [B, D] over the frames of a clip [B, T, H, W, C] of what is made of each frame alone, which does not depend on
        their order. A frame is shown as long as a patch is, and its tokens are pooled as those of a clip, without `cells`.
        """
        stills = jnp.repeat(clip.reshape(-1, 1, *clip.shape[2:]), sides(self.patch)[0], axis=1)
        tokens = self(stills)
        pooled = tokens[:, 0] if self.pool == "class" else tokens[:, self.prefix :].mean(1, dtype=wide(tokens.dtype))
        return pooled.reshape(*clip.shape[:2], -1).mean(1)

    @property
    def _kernel_init(self) -> nn.initializers.Initializer:
        return INITIALIZERS[self.initializer]

    def _position_tables(self, grids: list[Grid]) -> list[Array]:
        """Codes [N, D] for the patches of each grid."""
        if self.positions in TABLES:
            first = self.grid or grids[0]
            table = jnp.asarray(TABLES[self.positions](self.width, first))
            return [resize_tokens(table, first, grid, INTERPOLATION_OFFSET).astype(self.dtype) for grid in grids]
        if self.positions in ("rope", "relative"):
            return [jnp.zeros((math.prod(grid), self.width), self.dtype) for grid in grids]
        base = self.grid or grids[0]
        if self.has_variable("params", "positions"):
            learned: int = self.get_variable("params", "positions").shape[0]
            if learned != math.prod(base):
                raise UserError(
                    f"positions were learned for {learned} patches and the image has {by(base)}; "
                    "set model.grid to the rows and columns of training, so that they can be resampled"
                )
        table = self.param("positions", nn.initializers.normal(0.02), (math.prod(base), self.width))
        return [resize_tokens(table, base, grid, INTERPOLATION_OFFSET) for grid in grids]

    def _bias(self, grid: Grid) -> Array | None:
        """What is added to the logits of every block, [1, H, P + N, P + N]."""
        if self.positions != "relative":
            return None
        widest = self.grid or grid
        if any(n > w for n, w in zip(grid, widest, strict=True)):
            raise UserError(
                f"positions='relative' has offsets for {by(widest)} patches and the image has {by(grid)}; set model.grid to the "
                "largest grid, before training"
            )
        return GridBias(self.heads, tuple(widest), self.prefix, name="relative")(grid)

    def _learned_bias(self, grid: Grid) -> Array | float:
        """The same from the parameters that there are, 0 without."""
        if self.positions != "relative":
            return 0.0
        bias = GridBias(self.heads, tuple(self.grid or grid), self.prefix, parent=None)
        return bias.apply({"params": self.variables["params"]["relative"]}, grid)  # type: ignore[return-value]

    def _masked(self, x: Array, masks: tuple[Array | None, ...], patches: list[Array]) -> Array:
        token = self.param("mask_token", nn.initializers.zeros_init(), (1, 1, self.width)).astype(x.dtype)
        full = [
            jnp.zeros(p.shape[:3], bool) if m is None else m.astype(bool) for p, m in zip(patches, masks, strict=True)
        ]
        return jnp.where(_pack([m[..., None] for m in full]), token, x)

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

    def _rotations(
        self, grids: list[Grid], keep: tuple[Array | None, ...], train: bool
    ) -> tuple[tuple[Array, Array], ...] | None:
        """(cos, sin) for prefix and patches of each grid, [P + N, d], or [B * V, P + K, d] of the kept ones.

        The prefix is not turned.
        """
        if self.positions != "rope":
            return None
        tables = []
        for grid, kept in zip(grids, keep, strict=True):
            scale: Array | float = 1.0
            if train and self.rope_rescale > 1:
                scale = self.rope_rescale ** jax.random.uniform(self.make_rng(NOISE), minval=-1.0, maxval=1.0)
            place = ROPE_PLACES[self.rope_places](grid)
            cos, sin = rope(self.width // self.heads, place, self.rope_base, scale, self.rope_tiled)
            if kept is not None:
                cos, sin = (t[kept.reshape(-1, kept.shape[-1])] for t in (cos, sin))
            tables.append((_with_prefix(cos, self.prefix, 1), _with_prefix(sin, self.prefix, 0)))
        return tuple(tables)

    def _check_axes(self, images: tuple[Array, ...]) -> None:
        axes = len(sides(self.patch))
        for found in {image.ndim - 3 for image in images} - {axes}:
            raise UserError(
                f"model.patch={self.patch} is for {axes} axes ({KINDS[axes]}) and the input has {found}; "
                f"give a size for each, such as model.patch={(2, 16, 16)[-found:] if 0 < found < 4 else 16}"
            )

    def __post_init__(self) -> None:
        if self.pool.startswith("class") and not self.class_token:
            raise UserError(f"pool={self.pool!r} needs class_token=True; use pool='mean'")
        for value, known, name in (
            (self.pool, ("mean", "class", "class_mean", "map"), "pool"),
            (self.positions, POSITIONS, "positions"),
            (self.initializer, INITIALIZERS, "initializer"),
            (self.rope_places, ROPE_PLACES, "rope_places"),
        ):
            if value not in known:
                raise UserError(f"{name}={value!r} is unknown; use one of {', '.join(known)}")
        if not 0 <= self.read_block < self.depth:
            raise UserError(
                f"read_block={self.read_block}: 0 (the end), or 1 to {self.depth - 1} of {self.depth} blocks"
            )
        if len(sides(self.patch)) not in KINDS or min(sides(self.patch)) < 1:
            raise UserError(
                f"patch={self.patch}: a number of pixels, or a size of 1 or more for each of one to three axes"
            )
        super().__post_init__()


def _with_prefix(table: Array, prefix: int, value: float) -> Array:
    """A table [..., N, d] after `prefix` rows of `value`."""
    return jnp.concatenate([jnp.full((*table.shape[:-2], prefix, table.shape[-1]), value, table.dtype), table], axis=-2)


def _pack(parts: list[Array]) -> Array:
    """Arrays [B, V, N, D] -> [B, sum of V * N, D]."""
    return jnp.concatenate([p.reshape(p.shape[0], -1, p.shape[-1]) for p in parts], axis=1)


def _like(parts: Iterable[Array], arrays: list[Array]) -> list[Array]:
    """Rows of tokens, brought to the shapes [B, V, N, .] of `arrays`."""
    return [part.reshape(*x.shape[:3], -1) for part, x in zip(parts, arrays, strict=True)]


def vit(variant: str = "Ti", **options: Any) -> ViT:
    """A ViT of a named size: Ti, S, B, L, H or g. `options` are fields of `ViT` and win over the variant's."""
    if variant not in VARIANTS:
        raise UserError(f"variant={variant!r} is unknown; use one of {', '.join(VARIANTS)}")
    width, depth, heads, mlp_dim = VARIANTS[variant]
    return ViT(**({"width": width, "depth": depth, "heads": heads, "mlp_dim": mlp_dim} | options))
