"""Pictures as sequences of colours: iGPT's front end on the transformer of texts."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.errors import UserError
from ssl_jax.models.codebook import nearest
from ssl_jax.models.rows import NORMS
from ssl_jax.models.text import TextTransformer
from ssl_jax.models.transformer import STACK


class PixelTransformer(TextTransformer):
    """Every pixel is a token: the nearest colour of a palette (Chen et al. 2020, "Generative Pretraining from Pixels").

    The `vocabulary` is that of the colours and, last, of the sign that stands before the first pixel. The parameter `palette`
    [colours, channels] is of pixels as the augmentation normalises them; it starts as a lattice from -1 to 1, and no gradient
    reaches it. `length` is the number of pixels. `read_block` is the block after which `features` reads the pixels, as the norm
    of the next one gives them; 0 is half way, which is where the paper's probe reads.
    """

    channels: int = 3
    read_block: int = 0

    def setup(self) -> None:
        """The tables and the stack, and the palette."""
        super().setup()
        self.palette = self.param("palette", lambda _, *shape: lattice(*shape), self.colours, self.channels)

    @property
    def colours(self) -> int:
        """How many colours there are."""
        return self.vocabulary - 1

    def codes(self, image: Array) -> Array:
        """Images [B, H, W, C] -> the colour int [B, H * W] of every pixel, in raster order."""
        if image.shape[-1] != self.channels:
            raise UserError(
                f"model.channels={self.channels} and the images have {image.shape[-1]}; set model.channels to that"
            )
        return nearest(image.reshape(len(image), -1, self.channels), jax.lax.stop_gradient(self.palette))

    def shown(self, codes: Array) -> Array:
        """Colours int [...] -> pixels [..., C]."""
        return self.palette[codes]

    def read(self, image: Array, train: bool = False) -> Array:
        """States [B, H * W, D] that see the pixels before, for a `causal` model; else all of them."""
        return self.states(*self._text(self.begun(self.codes(image))), train=train)

    def read_partly(self, codes: Array, seen: Array, train: bool = False) -> Array:
        """States [B, N, D] of all pixels, of which those that are not `seen` [B, N] have a zero vector."""
        x = self.looked_up(codes) * seen[..., None]
        _, segments, positions = plain_text(codes)
        return self.states(self.placed(x, positions), segments, positions, train)

    def begun(self, codes: Array) -> Array:
        """The sign of the beginning, and all colours but the last: what a causal model reads."""
        return jnp.pad(codes[:, :-1], ((0, 0), (1, 0)), constant_values=self.colours) if self.causal else codes

    def features(self, image: Array, train: bool = False) -> Array:  # type: ignore[override]
        """The mean [B, D] of the states of all pixels in the middle."""
        block = self.read_block or self.depth // 2
        x, segments, positions = self._text(self.begun(self.codes(image)))
        layers = self.stacked(x, segments, positions, train, last=self.depth - block + 1).layers
        following = jax.tree.map(lambda p: p[block], self.variables["params"]["transformer"][STACK]["norm1"])
        norm = NORMS[self.norm](self.norm_epsilon, self.dtype, parent=None)
        return norm.apply({"params": following}, layers[0]).mean(axis=1)  # type: ignore[index, union-attr]

    def _text(self, tokens: Array) -> tuple[Array, Array, Array]:
        tokens, segments, positions = plain_text(tokens)
        return self.embedded(tokens, positions), segments, positions


def plain_text(tokens: Array) -> tuple[Array, Array, Array]:
    """Tokens [B, T] as a text without padding."""
    return tokens, jnp.ones_like(tokens), jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)


def lattice(count: int, channels: int) -> Array:
    """`count` points [count, channels] of the smallest regular lattice from -1 to 1 that has so many, evenly taken."""
    side = math.ceil(count ** (1 / channels))
    points = np.stack(np.meshgrid(*[np.linspace(-1, 1, side)] * channels, indexing="ij"), axis=-1).reshape(-1, channels)
    return jnp.asarray(points[np.linspace(0, len(points) - 1, count).round().astype(int)], jnp.float32)
