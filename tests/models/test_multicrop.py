"""Crops of several sizes through one encoder; stochastic depth; positions at other sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawing import drawn, normal

from ssl_jax.errors import UserError
from ssl_jax.models.drop_path import DropPath, Section, dropped_sequences, subset_of_sequences
from ssl_jax.models.grid import bicubic_matrix, resize_tokens
from ssl_jax.models.vit import ViT

SMALL = {"width": 16, "depth": 2, "heads": 2, "mlp_dim": 16, "patch": 4, "remat": "none"}
SECTIONS = (Section(2, 3), Section(3, 2))


@pytest.mark.parametrize("positions", ["learned", "rope"])
def test_crops_together_are_each_crop_alone(positions):
    model = ViT(**SMALL, positions=positions, registers=1, grid=(3, 3))
    large, small = (normal(i, 2, 2 + i, s, s, 1) for i, s in ((0, 12), (1, 8)))
    variables = drawn(model.init, jax.random.key(2), (large, small), method="crops")

    @jax.jit
    def run(v):
        alone = model.apply(v, large[:, 1]), model.apply(v, small[:, 2])
        return model.apply(v, (large, small), method="crops"), alone

    together, alone = jax.tree.map(np.asarray, run(variables))
    assert [t.shape for t in together] == [(2, 2, 2 + 9, 16), (2, 3, 2 + 4, 16)]
    np.testing.assert_allclose(together[0][:, 1], alone[0], atol=1e-5)
    np.testing.assert_allclose(together[1][:, 2], alone[1], atol=1e-5)


def test_no_attention_crosses_crops_and_nothing_is_padded():
    model = ViT(**SMALL)
    crops = (jnp.zeros((2, 2, 12, 12, 1)), jnp.zeros((2, 3, 8, 8, 1)))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), crops, method="crops"))
    text = str(jax.make_jaxpr(lambda v: model.apply(v, crops, method="crops"))(variables))
    assert "f32[4,2,10,10]" in text  # logits of 2 x 2 large crops of 10 tokens
    assert "f32[6,2,5,5]" in text  # and of 2 x 3 small ones of 5
    assert "f32[2,35,3,2,8]" in text  # queries, keys and values of all 2 * 10 + 3 * 5 tokens at once


def test_a_subset_of_each_group_and_section_gets_the_scaled_branch():
    x = np.zeros((8, 12, 1), np.float32)
    drop = DropPath(0.5, "subset", groups=4)
    one = lambda h, sections: jnp.ones_like(h)  # noqa: E731
    out = np.asarray(jax.jit(lambda key: subset_of_sequences(key, one, x, SECTIONS, drop))(jax.random.key(0)))
    first, second = out[:, :6].reshape(4, 2 * 2, 3), out[:, 6:].reshape(4, 2 * 3, 2)
    for part, kept, scale in ((first, 2, 2.0), (second, 3, 2.0)):
        assert set(np.unique(part)) == {0.0, scale}
        assert (part == part[..., :1]).all()  # whole sequences
        assert ((part[..., 0] > 0).sum(axis=1) == kept).all()  # as many in every group
    with pytest.raises(UserError, match="drop_path_groups=3 does not divide the 8 examples"):
        subset_of_sequences(jax.random.key(0), one, x, SECTIONS, DropPath(0.5, "subset", groups=3))


def test_the_branch_sees_fewer_sequences():
    seen = []

    def branch(h, sections):
        seen.append((h.shape, sections))
        return h

    x, drop = jnp.zeros((8, 12, 1)), DropPath(0.75, "subset", groups=2)
    jax.eval_shape(lambda: subset_of_sequences(jax.random.key(0), branch, x, SECTIONS, drop))
    assert seen == [((2, 2 * 3 + 3 * 2, 1), (Section(2, 3), Section(3, 2)))]


def test_dropped_sequences_are_whole_and_the_others_are_scaled():
    x, rate, one = np.zeros((64, 12, 1), np.float32), 0.25, lambda h, s: jnp.ones_like(h)
    out = np.asarray(jax.jit(lambda key: dropped_sequences(key, one, x, SECTIONS, rate))(jax.random.key(0)))
    first = out[:, :6].reshape(-1, 3)
    assert (first == first[:, :1]).all()
    np.testing.assert_allclose(np.unique(out), [0, 1 / 0.75], rtol=1e-6)
    assert 0.9 < float(out.mean()) < 1.1
    np.testing.assert_allclose(DropPath(0.3).rates(4), [0, 0.1, 0.2, 0.3], atol=1e-6)


def test_training_with_drop_path_draws_and_evaluation_does_not():
    model = ViT(**SMALL, drop_path=0.5, drop_path_mode="subset")
    image = (normal(0, 4, 1, 8, 8, 1),)
    variables = drawn(model.init, jax.random.key(1), image, method="crops")

    @jax.jit
    def run(key):
        return [
            model.apply(variables, image, train=train, method="crops", rngs={"noise": key})[0]
            for train in (True, False)
        ]

    (one, still), (other, as_still) = (jax.tree.map(np.asarray, run(jax.random.key(seed))) for seed in (2, 3))
    assert (one != other).any()
    assert (still == as_still).all()


def test_bicubic_weights_are_those_of_torch():
    halved = bicubic_matrix(4, 8)
    np.testing.assert_allclose(halved.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(halved[1, 1:5], [-0.09375, 0.59375, 0.59375, -0.09375])  # a = -0.75, halfway
    np.testing.assert_array_equal(bicubic_matrix(5, 5), np.eye(5))
    # DINO's offset of 0.1 moves the sampling points: 37 -> 37 is not the identity, and stays close to it.
    assert 0 < np.abs(bicubic_matrix(5, 5, 0.1) - np.eye(5)).max() < 0.2


def test_resized_positions_keep_a_plane():
    rows, columns = np.meshgrid(np.arange(8.0), np.arange(8.0), indexing="ij")
    table = jnp.asarray(np.stack([rows, columns], axis=-1).reshape(64, 2))
    out = np.asarray(resize_tokens(table, (8, 8), (4, 4))).reshape(4, 4, 2)
    np.testing.assert_allclose(out[1:3, 1:3, 0], [[2.5, 2.5], [4.5, 4.5]], atol=1e-5)
    np.testing.assert_allclose(out[1:3, 1:3, 1], [[2.5, 4.5], [2.5, 4.5]], atol=1e-5)


def test_a_masked_patch_is_not_seen():
    model = ViT(**SMALL)
    image, mask = normal(0, 1, 1, 8, 8, 1), np.array([[[False, True, False, False]]])
    variables = drawn(model.init, jax.random.key(1), (image,), (mask,), method="crops")
    run = jax.jit(lambda x, m: model.apply(variables, (x,), (m,), method="crops")[0])
    other = image.copy()
    other[:, :, :4, 4:] = 9.0
    np.testing.assert_array_equal(run(image, mask), run(other, mask))
    assert (np.asarray(run(image, np.zeros_like(mask))) != np.asarray(run(other, np.zeros_like(mask)))).any()
