"""Arrays of the shapes that a program would make, drawn by NumPy: nothing is compiled for them."""

import jax
import numpy as np


def normal(seed, *shape, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def drawn(make, *arguments, scale=0.3, **options):
    """What `make` would return: its real numbers drawn, its counters zero."""
    rng = np.random.default_rng(0)

    def draw(like):
        if not jax.numpy.issubdtype(like.dtype, np.floating):
            return np.zeros(like.shape, like.dtype)
        return rng.normal(scale=scale, size=like.shape).astype(like.dtype)

    return jax.tree.map(draw, jax.eval_shape(lambda: make(*arguments, **options)))
