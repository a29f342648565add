"""A small convolutional encoder for recipes that run on a CPU."""

from __future__ import annotations

from flax import linen as nn
from jax import Array

from ssl_jax.models.norm import Norm
from ssl_jax.precision import wide


class ConvNet(nn.Module):
    """A convolution of side `kernels[i]` and stride `strides[i]`, norm and ReLU per entry of `widths`.

    28x28 pixels and strides of 2, 2, 2 (or 4, 2) leave a 4x4 map. `pool="flatten"` keeps the places apart, `"mean"`
    averages them.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    strides: tuple[int, ...] = (2, 2, 2)
    kernels: tuple[int, ...] = (3, 3, 3)
    norm: str = "group"  # batch | group | none
    pool: str = "flatten"  # flatten | mean
    dtype: str = "float32"

    @nn.compact
    def __call__(self, image: Array, train: bool = False) -> Array:
        """Image [B, H, W, C] -> feature map [B, h, w, widths[-1]]."""
        x = image.astype(self.dtype)
        for i, (width, stride, kernel) in enumerate(zip(self.widths, self.strides, self.kernels, strict=True)):
            x = nn.Conv(
                width, (kernel, kernel), stride, use_bias=self.norm == "none", dtype=self.dtype,
                kernel_init=nn.initializers.he_normal(), name=f"conv{i}",
            )(x)  # fmt: skip
            x = nn.relu(Norm(self.norm, self.dtype, name=f"norm{i}")(x, train))
        return x

    def features(self, image: Array, train: bool = False) -> Array:
        """Features [B, F] of images: the map, flattened or averaged."""
        x = self(image, train)
        if self.pool == "mean":
            return x.mean(axis=(1, 2), dtype=wide(x.dtype))
        return x.reshape(x.shape[0], -1)
