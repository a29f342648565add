"""What is shown of the last block's attention is what that block attended with."""

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.models import attention
from ssl_jax.models.drop_path import Section
from ssl_jax.models.mask import NO_MASK
from ssl_jax.models.transformer import STACK, Block
from ssl_jax.models.vit import ViT


def test_the_weights_are_those_that_the_last_block_multiplies_its_values_by(monkeypatch):
    vit = ViT(width=16, depth=2, heads=2, mlp_dim=8, patch=4, positions="rope", registers=1, remat="none")
    image = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    variables = jax.jit(vit.init)(jax.random.key(1), image)
    taken = []

    def recorded(query, key, value, *rest, **options):
        taken.append((value, attention.attend(query, key, value, *rest, **options)))
        return taken[-1][1]

    def last_block(vit, image):
        """The output of the last block, run by itself on what the block before it gave; and what the network has there."""
        _, (given, after) = vit.outputs((image[:, None],), last=2)
        own = jax.tree.map(lambda x: x[-1], variables["params"]["transformer"][STACK])
        block = Block(2, 8, attention="recorded", sections=(Section(1, 6),), parent=None)
        return block.apply({"params": own}, given, 0.0, NO_MASK, vit._rotations([(2, 2)], (None,), False))[0], after

    monkeypatch.setitem(attention.ATTENTION, "recorded", recorded)
    alone, after = vit.apply(variables, image, method=last_block)
    np.testing.assert_allclose(alone, after, atol=1e-6)
    weights = jax.jit(lambda v, x: vit.apply(v, x, method="last_attention"))(variables, image)
    ((value, found),) = taken
    assert weights.shape == (2, 2, 6, 6)
    np.testing.assert_allclose(jnp.einsum("bhqk,bkhd->bqhd", weights, value), found, atol=1e-5)
