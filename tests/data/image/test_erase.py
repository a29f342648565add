"""Random erasing: one box of the drawn area gets the mean colour of its view."""

import jax.numpy as jnp
import numpy as np

from ssl_jax.data.image.view_policy import ViewPolicy


def test_one_box_of_the_drawn_area_gets_the_mean_colour():
    images = np.random.default_rng(0).uniform(size=(3, 20, 30, 2)).astype(np.float32)
    erase = ViewPolicy(erase=1.0, erase_scale=(0.1, 0.1), erase_ratio=(1.0, 1.0)).operations(2)["erase"]
    draws = jnp.array([[0.0, 0.5, 0.5, 0.5, 0.5], [0.0, 0.5, 0.5, 0.3, 0.6], [0.0, 0.5, 0.5, 0.0, 0.0]])
    erased = np.asarray(erase(draws, images))
    changed = (erased != images).any(-1)
    assert changed[0].sum() == 8 * 8  # sqrt(0.1 * 600) = 7.7: eight pixels whose centres lie within
    assert 7 * 7 <= changed[1].sum() <= 8 * 8
    assert 0 < changed[2].sum() <= 4 * 4  # cut off at the corner
    for image, new, there in zip(images, erased, changed, strict=True):
        np.testing.assert_allclose(new[there], np.broadcast_to(image.mean((0, 1)), new[there].shape), rtol=1e-5)


def test_a_view_without_erasing_has_no_such_step():
    assert "erase" not in ViewPolicy().operations(3)
