"""Muon: the momentum of a matrix, made orthogonal (Jordan et al. 2024, kellerjordan.github.io/posts/muon)."""

from __future__ import annotations

import math
import re

import optax
from jax import Array
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from ssl_jax.optim.apart import apart
from ssl_jax.optim.param_rules import in_stack, map_named, scale_by_adam

# Where the matrix lies in the kernels of a stack, of which axis 0 counts the layers: path regex, rank, axes in and out. All
# other axes count matrices: queries, keys and values are three, gate and value of a SwiGLU two.
MATRICES = (
    (r"/(qkv|kv)/kernel$", 5, MuonDimensionNumbers((1,), (3, 4))),
    (r"/(q|k|v|query|key|value)/kernel$", 4, MuonDimensionNumbers((1,), (2, 3))),
    (r"/(proj|out)/kernel$", 4, MuonDimensionNumbers((1, 2), (3,))),
    (r"/fc1/kernel$", 4, MuonDimensionNumbers((1,), (3,))),
    (r"/kernel$", 3, MuonDimensionNumbers((1,), (2,))),
)


def matrix_axes(name: str, x: Array) -> MuonDimensionNumbers | None:
    """The axes of the matrices in a parameter, or None where it is no stack of them (norms, biases, convolutions)."""
    fitting = (axes for pattern, rank, axes in MATRICES if x.ndim == rank and re.search(pattern, name))
    return next(fitting, None) if in_stack(name) else None


def scale_by_shape(rms: float | None) -> optax.GradientTransformation:
    """Orthogonal matrices [m, n] times `sqrt(max(m, n)) rms` (Liu et al. 2025, arXiv 2502.16982, eq. 4).

    An update then has the root mean square `rms` whatever the shape. None: `sqrt(max(1, n / m))`, as in Jordan's code.
    """

    def scale(name: str, u: Array) -> Array:
        m, n = (math.prod(u.shape[axis] for axis in axes) for axes in matrix_axes(name, u) or ())
        return u * (math.sqrt(max(1, n / m)) if rms is None else math.sqrt(max(m, n)) * rms)

    return optax.stateless(lambda updates, params: map_named(scale, updates))


def orthogonal_or_adam(
    b1: float, b2: float, eps: float, beta: float, ns_steps: int, rms: float | None
) -> optax.GradientTransformation:
    """Muon's direction for the matrices of the stack, Adam's for all else, as its authors use it."""
    axes = lambda updates: map_named(matrix_axes, updates)  # noqa: E731
    orthogonal = scale_by_muon(beta=beta, ns_steps=ns_steps, weight_dimension_numbers=axes)
    directions = {"muon": optax.chain(orthogonal, scale_by_shape(rms)), "adam": scale_by_adam(b1, b2, eps)}

    def label(name: str, x: Array) -> str:
        return "adam" if matrix_axes(name, x) is None else "muon"

    return apart(label, directions.__getitem__)
