"""Maps of places: near features have near colours, attention lies where it is, and what has no grid has no map."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.panels import Pictures
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.base import Encoder
from ssl_jax.report import maps

PICTURES = np.random.default_rng(0).random((3, 16, 16, 3), np.float32)
SHOWN = Pictures(PICTURES[:, None])


def test_each_map_has_a_column_and_each_patch_one_colour():
    vit = ViT(width=16, depth=2, heads=2, mlp_dim=8, patch=4, remat="none")
    variables = jax.jit(vit.init)(jax.random.key(0), PICTURES)
    encoder = Encoder(vit, (), ("image",), dict)
    found = maps.place_maps(encoder, variables, {"image": PICTURES}, SHOWN)
    assert found.captions == ("input", "patches (PCA)", "attention", "head 1", "head 2")
    assert found.rows.shape == (3, 5, 16, 16, 3)
    np.testing.assert_array_equal(found.rows[:, 0], PICTURES)
    patches = found.rows[:, 1:].reshape(3, 4, 4, 4, 4, 4, 3)  # rows, columns of patches, each of 4 x 4 pixels
    assert np.ptp(patches, axis=(3, 5)).max() == 0
    assert found.rows.min() >= 0
    assert found.rows.max() <= 1


@pytest.mark.parametrize(("class_token", "query"), [(True, 0), (False, slice(1, None))])
def test_attention_is_that_of_the_class_token_or_else_of_the_mean_patch(class_token, query):
    weights = np.random.default_rng(0).random((3, 2, 17, 17), np.float32)

    def apply(variables, image, method):
        return jnp.asarray(weights)

    module = SimpleNamespace(depth=2, class_token=class_token, prefix=1, last_attention=None, apply=apply)
    encoder = SimpleNamespace(module=module, preprocess=dict, inputs=("image",))
    found = maps.attention(encoder, {}, {"image": PICTURES}, (4, 4)).reshape(3, 2, 16)
    expected = weights[:, :, query, 1:] if class_token else weights[:, :, query, 1:].mean(2)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_patches_of_two_kinds_have_two_colours():
    kinds = np.random.default_rng(0).integers(0, 2, (2, 16))
    tokens = np.where(kinds[..., None], 1.0, -1.0) * np.ones(8) + 0.01 * np.random.default_rng(1).normal(
        size=(2, 16, 8)
    )
    first = maps.principal_colours(tokens, (4, 4))[..., 0].reshape(2, 16)
    assert abs(np.corrcoef(first.ravel(), kinds.ravel())[0, 1]) > 0.99


def test_a_map_of_one_value_is_no_division_by_zero():
    assert np.isfinite(maps.heat(np.ones((1, 4, 4)))).all()


@dataclass(frozen=True)
class Pooled:
    """An encoder that has features only."""

    module: object = field(default_factory=lambda: SimpleNamespace(apply=lambda *a, **k: np.ones((3, 4))))
    inputs: tuple = ("image",)
    preprocess: object = dict


def test_what_has_no_grid_of_patches_has_no_map():
    assert maps.place_maps(Pooled(), {}, {"image": PICTURES}, SHOWN) is None
