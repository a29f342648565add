"""What treats every token alike: dense layers and norms, on rows (all leading axes are one), and activations.

Values, parameters and their names are those of `flax.linen.DenseGeneral` and `LayerNorm`. The gradients are the same too,
written out because XLA's CPU backend makes little of what autodiff leaves it (jax 0.10.2): it sums over rows at a seventh
of the speed of a product with ones, transposes what is contracted over several axes, and divides for every element where
a LayerNorm needs one division for a row. A step of a ViT-S takes a seventh less time for it on a CPU, and a ViT-L on TPUs
needs less memory (docs/results/speed.md, docs/results/plan.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.devices.compiler import target_platform
from ssl_jax.devices.precision import wide

Initializer = nn.initializers.Initializer
zeros, ones = nn.initializers.zeros_init(), nn.initializers.ones_init()


def sum_rows(x: Array) -> Array:
    """Rows x [R, ...] -> their sum [...], added up in float32 or wider."""
    kind = wide(x.dtype)
    if target_platform() == "cpu":
        total = jnp.tensordot(jnp.ones_like(x, shape=x.shape[:1]), x, 1, preferred_element_type=kind)
    else:
        total = jnp.sum(x, axis=0, dtype=kind)
    return total.astype(x.dtype)


@jax.custom_vjp
def dot_rows(x: Array, kernel: Array) -> Array:
    """Rows x [R, *in] and a kernel [*in, *out] -> [R, *out]."""
    return jnp.tensordot(x, kernel, x.ndim - 1)


def _dot_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return jnp.tensordot(x, kernel, x.ndim - 1), (x, kernel)  # in sight of remat policies


def _dot_backward(kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = kept
    out = tuple(range(1, g.ndim)), tuple(range(x.ndim - 1, kernel.ndim))
    return jnp.tensordot(g, kernel, out), jnp.tensordot(x, g, (0, 0))


dot_rows.defvjp(_dot_forward, _dot_backward)


@jax.custom_vjp
def add_to_rows(x: Array, bias: Array) -> Array:
    """Rows x [R, ...] and a bias [...] -> their sum."""
    return x + bias


add_to_rows.defvjp(lambda x, bias: (x + bias, None), lambda _, g: (g, sum_rows(g)))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def norm_rows(epsilon: float, x: Array, scale: Array, bias: Array) -> Array:
    """LayerNorm of rows x [R, D], in float32 or wider (Ba, Kiros, Hinton 2016, arXiv 1607.06450, eq. 4)."""
    return _norm_forward(epsilon, x, scale, bias)[0]


def _norm_forward(epsilon: float, x: Array, scale: Array, bias: Array) -> tuple[Array, tuple[Array, ...]]:
    wider = x.astype(wide(x.dtype))
    mean = wider.mean(axis=1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.square(wider - mean).mean(axis=1, keepdims=True) + epsilon)
    return (wider - mean) * (inverse * scale) + bias, (x, mean, inverse, scale, bias)


def _norm_backward(epsilon: float, kept: tuple[Array, ...], g: Array) -> tuple[Array, Array, Array]:
    x, mean, inverse, scale, bias = kept
    normal, scaled = (x.astype(mean.dtype) - mean) * inverse, g * scale
    along = (scaled * normal).mean(axis=1, keepdims=True)
    to_x = (scaled - scaled.mean(axis=1, keepdims=True) - normal * along) * inverse
    return to_x.astype(x.dtype), sum_rows(g * normal).astype(scale.dtype), sum_rows(g).astype(bias.dtype)


norm_rows.defvjp(_norm_forward, _norm_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def rms_rows(epsilon: float, x: Array, scale: Array) -> Array:
    """RMSNorm of rows x [R, D], in float32 or wider (Zhang, Sennrich 2019, arXiv 1910.07467, eq. 4)."""
    return _rms_forward(epsilon, x, scale)[0]


def _rms_forward(epsilon: float, x: Array, scale: Array) -> tuple[Array, tuple[Array, ...]]:
    wider = x.astype(wide(x.dtype))
    inverse = jax.lax.rsqrt(jnp.square(wider).mean(axis=1, keepdims=True) + epsilon)
    return wider * (inverse * scale), (x, inverse, scale)


def _rms_backward(epsilon: float, kept: tuple[Array, ...], g: Array) -> tuple[Array, Array]:
    x, inverse, scale = kept
    normal, scaled = x.astype(inverse.dtype) * inverse, g * scale
    along = (scaled * normal).mean(axis=1, keepdims=True)
    return ((scaled - normal * along) * inverse).astype(x.dtype), sum_rows(g * normal).astype(scale.dtype)


rms_rows.defvjp(_rms_forward, _rms_backward)


@jax.custom_vjp
def gelu(x: Array) -> Array:
    """`x Phi(x)` with the distribution function of the normal (Hendrycks, Gimpel 2016, arXiv 1606.08415), not an approximation.

    The backward pass keeps x alone; autodiff would keep three arrays of its size.
    """
    wider = x.astype(wide(x.dtype))
    return (wider * _normal_cdf(wider)).astype(x.dtype)


def _normal_cdf(x: Array) -> Array:
    return 0.5 * (1 + jax.lax.erf(x * math.sqrt(0.5)))


def _gelu_backward(x: Array, g: Array) -> tuple[Array]:
    wider = x.astype(wide(x.dtype))
    density = jnp.exp(-0.5 * jnp.square(wider)) / math.sqrt(2 * math.pi)
    return ((g * (_normal_cdf(wider) + wider * density)).astype(x.dtype),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)


def gelu_tanh(x: Array) -> Array:
    """GELU by its authors' approximation with a tanh: what GPT-2 and T5 1.1 use."""
    return nn.gelu(x, approximate=True)


def quick_gelu(x: Array) -> Array:
    """GELU by a logistic function (Hendrycks, Gimpel 2016, arXiv 1606.08415, section 2): what OpenAI's CLIP uses."""
    return x * nn.sigmoid(1.702 * x)


# What an MLP does between its two dense layers, on one hidden array, or on two: the gate and what it lets through (Shazeer
# 2020, arXiv 2002.05202, eq. 6).
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "relu": nn.relu,
}
GATES: dict[str, Callable[[Array], Array]] = {"swiglu": nn.silu, "geglu": gelu, "geglu_tanh": gelu_tanh}


class Hidden(NamedTuple):
    """The hidden layer of an MLP: the features of its first dense layer, and what is done to them."""

    features: int | tuple[int, int]
    apply: Callable[[Array], Array]


def hidden_layer(name: str, width: int) -> Hidden:
    """The hidden layer of a known name, of so many units."""
    if name in GATES:
        return Hidden((2, width), lambda h: GATES[name](h[..., 0, :]) * h[..., 1, :])
    return Hidden(width, ACTIVATIONS[name])


def as_matrix(init: Initializer) -> Callable[[Array, tuple[int, ...], tuple[int, ...]], Array]:
    """`init` for kernels [*in, *out], drawn as the matrices that they are."""
    return lambda key, inner, outer: init(key, (math.prod(inner), math.prod(outer))).reshape(*inner, *outer)


class Dense(nn.Module):
    """`x W + b`, contracting the last `axes` axes of x."""

    features: int | tuple[int, ...]
    axes: int = 1
    dtype: str = "float32"
    kernel_init: Initializer = nn.initializers.lecun_normal()
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., *in] -> [..., *features]."""
        leading, inner = x.shape[: x.ndim - self.axes], x.shape[x.ndim - self.axes :]
        outer = (self.features,) if isinstance(self.features, int) else tuple(self.features)
        kernel = self.param("kernel", as_matrix(self.kernel_init), inner, outer).astype(self.dtype)
        rows = dot_rows(x.astype(self.dtype).reshape(-1, *inner), kernel)
        if self.use_bias:
            rows = add_to_rows(rows, self.param("bias", zeros, outer).astype(self.dtype))
        return rows.reshape(*leading, *outer)


class LayerNorm(nn.Module):
    """LayerNorm over the last axis, with float32 statistics and an exact (two-pass) variance."""

    epsilon: float = 1e-6
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., D] -> [..., D]."""
        scale, bias = self.param("scale", ones, x.shape[-1:]), self.param("bias", zeros, x.shape[-1:])
        rows = norm_rows(self.epsilon, x.reshape(-1, x.shape[-1]), scale, bias)
        return rows.astype(self.dtype).reshape(x.shape)


class LayerNormWithoutBias(nn.Module):
    """LayerNorm over the last axis to which nothing is added."""

    epsilon: float = 1e-6
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., D] -> [..., D]."""
        scale = self.param("scale", ones, x.shape[-1:])
        rows = norm_rows(self.epsilon, x.reshape(-1, x.shape[-1]), scale, jnp.zeros_like(scale))
        return rows.astype(self.dtype).reshape(x.shape)


class RMSNorm(nn.Module):
    """RMSNorm over the last axis, with float32 statistics: no mean is taken off and nothing is added."""

    epsilon: float = 1e-6
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., D] -> [..., D]."""
        rows = rms_rows(self.epsilon, x.reshape(-1, x.shape[-1]), self.param("scale", ones, x.shape[-1:]))
        return rows.astype(self.dtype).reshape(x.shape)


Norm = LayerNorm | LayerNormWithoutBias | RMSNorm
NORMS: dict[str, type[Norm]] = {"layer": LayerNorm, "layer_unbiased": LayerNormWithoutBias, "rms": RMSNorm}
