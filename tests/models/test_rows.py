"""`dot_rows` is `dot_general` on merged leading axes: same value, same gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.models.rows import dot_rows


@pytest.mark.parametrize(
    ("x", "kernel", "axes"),
    [
        ((2, 3, 4), (4, 5), (2,)),
        ((2, 3, 4), (4, 3, 2, 5), (2,)),
        ((2, 3, 2, 4), (2, 4, 5), (2, 3)),
        ((3, 4), (4, 5), (1,)),
    ],
)
def test_value_and_gradient_are_those_of_dot_general(x, kernel, axes):
    x, kernel = jax.random.normal(jax.random.key(0), x), jax.random.normal(jax.random.key(1), kernel)
    numbers = ((axes, tuple(range(len(axes)))), ((), ()))

    def loss(dot):
        return jax.value_and_grad(lambda x, k: jnp.sum(jnp.sin(dot(x, k, numbers))), (0, 1))(x, kernel)

    ours, theirs = loss(dot_rows), loss(jax.lax.dot_general)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours, theirs)


def test_other_contractions_are_an_error():
    with pytest.raises(ValueError, match="contracts the last axes"):
        dot_rows(jnp.ones((2, 3)), jnp.ones((2, 3)), (((0,), (0,)), ((), ())))
