"""Arrays of the shapes that a program would make, drawn by NumPy: nothing is compiled for them."""

import jax
import numpy as np


def normal(seed, *shape, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def drawn(make, *arguments, scale=0.3, **options):
    """What `make` would return, its numbers drawn."""
    shapes = jax.eval_shape(lambda: make(*arguments, **options))
    draw = np.random.default_rng(0).normal
    return jax.tree.map(lambda s: draw(scale=scale, size=s.shape).astype(s.dtype), shapes)
