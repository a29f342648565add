"""What a predictor is told of the context before it has learned anything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.image.views import ImageViews
from ssl_jax.errors import UserError
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.ijepa import IJEPA

ENCODER = ViT(16, 1, 2, 32, patch=4, class_token=False, remat="none")
AUGMENT = ImageViews(16, mean=(0.5,), std=(0.5,), views={"image": {"count": 1}})


def test_a_narrow_predictor_that_starts_as_xavier_hears_the_context():
    """Layers of 48 with a deviation of 0.02 make a prediction of the place alone, and the encoder has next to no gradient."""
    rng = np.random.default_rng(0)
    context = jnp.asarray(rng.normal(size=(32, 5, 16)), jnp.float32)
    seen, hidden = jnp.tile(jnp.arange(5), (32, 1)), jnp.tile(jnp.arange(8, 14).reshape(1, 2, 3), (32, 1, 1))
    given = seen, seen >= 0, hidden, hidden >= 0

    def heard(initializer):
        predictor = IJEPA(ENCODER, AUGMENT, 48, 1, predictor_initializer=initializer).predictor
        begun = jax.jit(lambda key: predictor.init_with_output(key, context, *given, (4, 4))[0])
        made = begun(jax.random.key(0))
        return float(made.var(axis=0).mean() / made.var())  # the share that is not the same for all contexts

    assert heard("normal") < 1e-3
    assert heard("xavier") > 0.03


def test_an_unknown_start_is_refused():
    with pytest.raises(UserError, match="predictor_initializer='he' is unknown; use one of xavier, normal"):
        IJEPA(ENCODER, AUGMENT, predictor_initializer="he")
