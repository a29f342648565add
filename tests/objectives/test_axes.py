"""MAE and I-JEPA on series and clips: nothing of theirs is for pictures only."""

import jax
import numpy as np
import pytest

from ssl_jax.data.image.views import ImageViews
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.base import Keys, Progress
from ssl_jax.objectives.ijepa import IJEPA
from ssl_jax.objectives.mae import MAE

ENCODER = {"width": 12, "depth": 1, "heads": 2, "mlp_dim": 8, "remat": "none"}
PROGRESS = Progress(0, 10)
INPUTS = {"series": ((24, 2), (2,), 12), "clip": ((4, 8, 6, 2), (2, 2, 2), 24)}


class AsTheyAre(ImageViews):
    """One view, without any change."""

    def __call__(self, keys, batch):
        return {"image": batch["image"][:, None]}


def objectives(patch):
    augment = AsTheyAre(8, (0.0,), (1.0,), {"image": {}})
    yield MAE(ViT(**ENCODER, patch=patch), augment, decoder_width=8, decoder_depth=1, decoder_heads=2)
    encoder = ViT(**ENCODER, patch=patch, class_token=False)
    yield IJEPA(encoder, augment, predictor_width=8, predictor_depth=1, targets=2, min_keep=2, context_tokens=4)


@pytest.mark.parametrize("kind", INPUTS)
def test_losses_have_their_gradient_on_any_axes(kind):
    shape, patch, count = INPUTS[kind]
    batch = {"image": np.zeros((2, *shape), np.float32)}

    def run(objective, key):
        views = objective.views(Keys(jax.random.split(key, 2), key), batch, PROGRESS)
        state = objective.init(key, views)
        loss = lambda params: objective.loss(params, state.extra, views, key, PROGRESS).total()  # noqa: E731
        return views, state.params, jax.grad(loss)(state.params)

    mae, ijepa = (jax.eval_shape(lambda key, o=o: run(o, key), jax.random.key(0)) for o in objectives(patch))
    for _, params, gradient in (mae, ijepa):
        assert jax.tree.map(lambda x: x.shape, params) == jax.tree.map(lambda x: x.shape, gradient)
    assert mae[0]["noise"].shape == (2, count)
    assert mae[1]["decoder"]["pred"]["kernel"].shape == (8, np.prod(patch) * shape[-1])
    assert ijepa[0]["context"].shape == (2, 4)
