"""Recurrent networks over frames, one step after the other by a scan."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.devices.mesh import shard_batch
from ssl_jax.models.layer import Layer
from ssl_jax.models.rows import Dense
from ssl_jax.models.wave import Frames


class GRU(nn.Module):
    """`depth` layers of gated recurrent units over frames, in their order: a state is of its frame and those before."""

    width: int = 256
    depth: int = 1
    dtype: str = "float32"

    causal, hides = True, False

    @nn.compact
    def layers(self, frames: Frames, last: int) -> list[Layer]:
        """The states [B, N, width] after each of the `last` layers."""
        x, states = frames.states, []
        for i in range(self.depth):
            x = GRULayer(self.width, self.dtype, name=f"layer{i}")(x, frames.valid)
            states.append(Layer(x, valid=frames.valid))
        return states[-last:]

    def __call__(self, frames: Frames, train: bool = False) -> Array:
        """The states [B, N, width] after the last layer."""
        return self.layers(frames, 1)[-1].tokens


class GRULayer(nn.Module):
    """Gated recurrent units (Cho et al. 2014, arXiv 1406.1078, eq. 5-8), the reset gate after the product, as in cuDNN.

    Of an input x and the state h before it: `r = s(W_r x + b_r + U_r h)`, `u = s(W_u x + b_u + U_u h)`,
    `n = tanh(W_n x + b_n + r (U_n h + c))`, and the state is `(1 - u) n + u h`. It stays as it is at frames that are not valid.
    """

    width: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array, valid: Array) -> Array:
        """[B, N, C], and [B, N] -> states [B, N, width]."""
        inputs = Dense(3 * self.width, dtype=self.dtype, name="input")(x)
        kernel = self.param("kernel", nn.initializers.orthogonal(), (self.width, 3 * self.width))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.width,))
        step = partial(_step, kernel.astype(self.dtype), bias.astype(self.dtype))
        start = jnp.zeros((len(x), self.width), self.dtype)
        _, states = jax.lax.scan(step, start, (jnp.moveaxis(inputs, 1, 0), valid.T))
        return shard_batch(jnp.moveaxis(states, 0, 1))


def _step(kernel: Array, bias: Array, state: Array, given: tuple[Array, Array]) -> tuple[Array, Array]:
    """The state [B, H] after inputs [B, 3 H] where they are valid [B]; twice, for a scan."""
    (inputs, valid), before = given, state @ kernel
    (r, u, n), (reset_of, update_of, new_of) = (jnp.split(x, 3, axis=-1) for x in (inputs, before))
    reset, update = nn.sigmoid(r + reset_of), nn.sigmoid(u + update_of)
    new = (1 - update) * jnp.tanh(n + reset * (new_of + bias)) + update * state
    state = jnp.where(valid[:, None], new, state)
    return state, state
