"""A small convolutional encoder for recipes that run on a CPU."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.devices.mesh import shard_batch
from ssl_jax.errors import UserError
from ssl_jax.models.grid import cell_means
from ssl_jax.models.layer import Layer
from ssl_jax.models.norm import Norm


class ConvNet(nn.Module):
    """A convolution of side `kernels[i]` and stride `strides[i]`, norm and ReLU per entry of `widths`.

    Series [B, T, C], images [B, H, W, C] and clips [B, T, H, W, C]: a kernel or a stride is one number for all axes or a
    tuple with one for each. 28x28 pixels and strides of 2, 2, 2 (or 4, 2) leave a 4x4 map. `pool="flatten"` keeps the places
    apart, `"mean"` averages `cells` parts of each axis of the map (a tuple: so many of each), or its places where it has no
    more. Features are those of the maps after the layers `levels`, side by side; -1 is the last.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    strides: tuple[int | tuple[int, ...], ...] = (2, 2, 2)
    kernels: tuple[int | tuple[int, ...], ...] = (3, 3, 3)
    norm: str = "group"  # batch | group | none
    pool: str = "flatten"  # flatten | mean
    cells: int | tuple[int, ...] = 1
    levels: tuple[int, ...] = (-1,)
    dtype: str = "float32"

    def __call__(self, image: Array, train: bool = False) -> Array:
        """Image [B, *axes, C] -> feature map [B, *smaller axes, widths[-1]]."""
        return self.maps(image, train)[-1]

    @nn.compact
    def maps(self, image: Array, train: bool = False) -> list[Array]:
        """Image [B, *axes, C] -> the map [B, *smaller axes, widths[i]] after every layer."""
        self._check()
        maps, axes = [image.astype(self.dtype)], image.ndim - 2
        for i, (width, stride, kernel) in enumerate(zip(self.widths, self.strides, self.kernels, strict=True)):
            x = nn.Conv(
                width, _per_axis(kernel, axes), _per_axis(stride, axes), use_bias=self.norm == "none", dtype=self.dtype,
                kernel_init=nn.initializers.he_normal(), name=f"conv{i}",
            )(maps[-1])  # fmt: skip
            maps.append(nn.relu(Norm(self.norm, self.dtype, name=f"norm{i}")(x, train)))
        return maps[1:]

    def features(self, image: Array, train: bool = False) -> Array:
        """Features [B, F] of images: the maps of `levels` flattened, or their means, at most `cells` per axis of each."""
        maps = self.maps(image, train)
        return jnp.concatenate([self._pooled(maps[level]) for level in self.levels], axis=-1)

    def layers(self, image: Array, last: int) -> list[Layer]:
        """The maps after each of the `last` layers."""
        return [Layer(x) for x in self.maps(image)[-last:]]

    def _check(self) -> None:
        layers = len(self.widths)
        if not layers == len(self.strides) == len(self.kernels):
            raise UserError(
                f"model.widths={self.widths}, strides={self.strides}, kernels={self.kernels}: give one of each for a layer"
            )
        if not self.levels or not all(-layers <= level < layers for level in self.levels):
            raise UserError(
                f"model.levels={self.levels}: name one or more of {layers} layers, 0 to {layers - 1}; -1 is the last"
            )

    def _pooled(self, x: Array) -> Array:
        if self.pool == "flatten":
            return x.reshape(x.shape[0], -1)
        batch, *grid, width = x.shape
        parts = (self.cells,) * len(grid) if isinstance(self.cells, int) else tuple(self.cells)
        return cell_means(x.reshape(batch, -1, width), tuple(grid), tuple(map(min, parts, grid)))


def _per_axis(size: int | tuple[int, ...], axes: int) -> tuple[int, ...]:
    sizes = (size,) * axes if isinstance(size, int) else tuple(size)
    if len(sizes) != axes:
        raise UserError(f"model.kernels and strides: {size} is for {len(sizes)} axes and the input has {axes}")
    return sizes


class PixelEncoder(nn.Module):
    """Encoder of stacked frames in pixel control (SAC-AE, Yarats et al. 2019, arXiv 1910.01741; used by CURL).

    A 3x3 convolution with stride 2, `layers` - 1 with stride 1, all without padding and followed by ReLU, then Dense,
    LayerNorm and tanh.
    """

    filters: int = 32
    layers: int = 4
    out: int = 50
    dtype: str = "float32"

    @nn.compact
    def __call__(self, image: Array, train: bool = False) -> Array:
        """Frames [B, H, W, C x frames] -> features [B, out] in (-1, 1)."""
        x = image.astype(self.dtype)
        for i in range(self.layers):
            conv = nn.Conv(
                self.filters, (3, 3), 2 if i == 0 else 1, padding="VALID", dtype=self.dtype,
                kernel_init=nn.initializers.delta_orthogonal(2**0.5), name=f"conv{i}",
            )  # fmt: skip
            x = nn.relu(conv(x))
        x = shard_batch(x.reshape(x.shape[0], -1))
        x = nn.Dense(self.out, dtype=self.dtype, kernel_init=nn.initializers.orthogonal(), name="dense")(x)
        return nn.tanh(nn.LayerNorm(1e-5, dtype=self.dtype, name="norm")(x))

    def features(self, image: Array, train: bool = False) -> Array:
        """The same as a call: features [B, out]."""
        return self(image, train)
