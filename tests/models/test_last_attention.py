"""What is shown of the last block's attention is what that block attended with."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.models import attention
from ssl_jax.models.vit import ViT


def test_the_weights_are_those_that_the_last_block_multiplies_its_values_by(monkeypatch):
    vit = ViT(width=16, depth=2, heads=2, mlp_dim=8, patch=4, positions="rope", registers=1, remat="none")
    image = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    variables = jax.jit(vit.init)(jax.random.key(1), image)
    taken = []

    def recorded(query, key, value, *rest, **options):
        found = attention.attend(query, key, value, *rest, **options)
        jax.debug.callback(lambda *arrays: taken.append(arrays), value, found, ordered=True)
        return found

    monkeypatch.setitem(attention.ATTENTION, "recorded", recorded)
    jax.block_until_ready(jax.jit(vit.clone(attention="recorded").apply)(variables, image))
    jax.effects_barrier()
    weights = jax.jit(partial(vit.apply, method="last_attention"))(variables, image)
    value, found = taken[-1]
    assert len(taken) == 2
    assert weights.shape == (2, 2, 6, 6)
    np.testing.assert_allclose(jnp.einsum("bhqk,bkhd->bqhd", weights, value), found, atol=1e-5)
