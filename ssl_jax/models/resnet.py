"""Residual networks, v1.5 (He et al. 2015, arXiv 1512.03385), with the ImageNet and the small-image stem."""

from __future__ import annotations

from functools import partial

from flax import linen as nn
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError
from ssl_jax.models.layer import Layer
from ssl_jax.models.norm import Norm

# blocks per stage, bottleneck?
DEPTHS = {18: ((2, 2, 2, 2), False), 34: ((3, 4, 6, 3), False), 50: ((3, 4, 6, 3), True), 101: ((3, 4, 23, 3), True)}
STEMS = {"imagenet": (7, 2, True), "small": (3, 1, False), "small_pool": (3, 1, True)}  # side, stride, max-pool?


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, or the 1x1, 3x3, 1x1 bottleneck (stride on the 3x3), beside a shortcut.

    The last norm of the branch starts at `last_norm`: at zero a new block is the identity (Goyal et al. 2017).
    """

    width: int
    stride: int = 1
    bottleneck: bool = False
    norm: str = "batch"
    dtype: str = "float32"
    last_norm: float = 0.0

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Map [B, h, w, C] -> [B, h/stride, w/stride, width (x4 for a bottleneck)]."""
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype, kernel_init=_he_fan_out)
        norm = partial(Norm, self.norm, self.dtype)
        padding = [(1, 1), (1, 1)]
        if self.bottleneck:
            out = 4 * self.width
            y = nn.relu(norm(name="norm1")(conv(self.width, (1, 1), name="conv1")(x), train))
            y = conv(self.width, (3, 3), self.stride, padding=padding, name="conv2")(y)
            y = nn.relu(norm(name="norm2")(y, train))
            y = conv(out, (1, 1), name="conv3")(y)
        else:
            out = self.width
            y = conv(self.width, (3, 3), self.stride, padding=padding, name="conv1")(x)
            y = nn.relu(norm(name="norm1")(y, train))
            y = conv(out, (3, 3), padding=padding, name="conv2")(y)
        y = norm(scale_init=nn.initializers.constant(self.last_norm), name="norm_last")(y, train)
        if x.shape != y.shape:
            x = conv(out, (1, 1), self.stride, name="shortcut")(x)
            x = norm(name="norm_shortcut")(x, train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """ResNet-18/34/50/101, or any other number of `blocks` in each stage.

    depth: of the published networks; the blocks are bottlenecks from 50 on.
    stem: "imagenet": 7x7 stride 2 and max-pool; "small": 3x3 stride 1 (CIFAR); "small_pool": that and the max-pool, for pictures
        of about 64 pixels.
    blocks: in each stage, such as (1, 1, 1, 1) for lightly's ResNet-9; (): those of `depth`, which else says nothing but whether
        they are bottlenecks.
    last_norm: what the scale of each branch's last norm starts at: 0 (Goyal et al. 2017, arXiv 1706.02677, section 5.1), as in
        the code of SimCLR, BYOL, SimSiam, Barlow Twins, SwAV and MoCo v3, or torchvision's default of 1, as in MoCo v1 and v2.
    """

    depth: int = 50
    stem: str = "imagenet"  # imagenet | small | small_pool
    width: int = 64
    norm: str = "batch"  # batch | group
    dtype: str = "float32"
    blocks: tuple[int, ...] = ()
    last_norm: float = 0.0

    @nn.compact
    def __call__(self, image: Array, train: bool = False) -> Array:
        """Image [B, H, W, C] -> feature map [B, h, w, F]."""
        if self.depth not in DEPTHS:
            raise UserError(f"depth={self.depth} is unknown; use one of {', '.join(map(str, DEPTHS))}")
        if self.stem not in STEMS:
            raise UserError(f"stem={self.stem!r} is unknown; use one of {', '.join(STEMS)}")
        published, bottleneck = DEPTHS[self.depth]
        side, stride, pooled = STEMS[self.stem]
        conv = partial(nn.Conv, self.width, use_bias=False, dtype=self.dtype, kernel_init=_he_fan_out, name="conv_stem")
        x = image.astype(self.dtype)
        x = conv(kernel_size=(side, side), strides=stride, padding=[(side // 2, side // 2)] * 2)(x)
        x = nn.relu(Norm(self.norm, self.dtype, name="norm_stem")(x, train))
        if pooled:
            x = nn.max_pool(x, (3, 3), (2, 2), padding=[(1, 1), (1, 1)])
        for i, blocks in enumerate(self.blocks or published):
            for j in range(blocks):
                stride = 2 if i > 0 and j == 0 else 1
                block = ResidualBlock(
                    self.width * 2**i,
                    stride,
                    bottleneck,
                    self.norm,
                    self.dtype,
                    self.last_norm,
                    name=f"stage{i + 1}_block{j + 1}",
                )
                x = block(x, train)
        return x

    def layers(self, image: Array, last: int) -> list[Layer]:
        """The map after the last stage, which is the only one that is handed out."""
        return [Layer(self(image))][-last:]

    def features(self, image: Array, train: bool = False) -> Array:
        """Globally averaged features [B, F]."""
        x = self(image, train)
        return x.mean(axis=(1, 2), dtype=wide(x.dtype))


_he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
