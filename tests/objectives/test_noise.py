"""Dropout and drop path under methods that compare views: apart for views, modules, groups of BatchNorm and the teacher."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ssl_jax.objectives.base import Progress
from ssl_jax.objectives.shared.forward import forward_chain, forward_views
from ssl_jax.objectives.shared.joint import WithTeacher
from ssl_jax.plan.problem import problem
from ssl_jax.recipe import load
from ssl_jax.training.step import train_step

METHODS = [  # of one forward pass, with a teacher, with pieces, of texts; of masks, of targets, of several settings of masks
    "simclr_vit_fashion:tiny", "simclr_vit_moving:byol", "frame_order_vit_moving:tiny", "simclr_bert_wordnet:tiny",
    "mae_vit_fashion:tiny", "ijepa_vit_fashion:tiny", "vjepa_vit_moving:tiny",
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_a_recipe_may_drop_units_and_paths(method):
    """Shapes of a step: the encoder asks for a key wherever it draws."""
    rates = {"text": "dropout"}.get(load(method, []).augment.target.split(".")[-2], "drop_path")
    posed = problem(load(method, [f"--config.model.{rates}=0.1"]))
    state = posed.state()
    after, _ = jax.eval_shape(partial(train_step, posed.setup), state, posed.batch)
    assert jax.tree.map(jnp.shape, after.params) == jax.tree.map(jnp.shape, state.params)
    objective = posed.setup.objective
    views, key = jax.eval_shape(posed.setup.views, state, posed.batch)
    learned = jax.make_jaxpr(objective.loss, static_argnums=4)(state.params, state.extra, views, key, Progress(0, 1))
    assert "random_bits" in str(learned)  # a rate that nothing draws from would pass in silence
    if hasattr(objective, "embeddings"):  # what health looks at
        jax.eval_shape(objective.embeddings, state.params, state.extra, posed.batch)


class Dropped(nn.Module):
    """Rows behind dropout of a half; with a norm, whose statistics are those of the rows."""

    normed: bool = False

    @nn.compact
    def __call__(self, x, train=True):
        x = nn.Dropout(0.5, deterministic=not train, rng_collection="noise")(x)
        return nn.BatchNorm(not train, use_scale=False, use_bias=False)(x) if self.normed else x

    features = __call__


ONES = jnp.ones((8, 2, 64))


def kept(x):
    """Which units were not dropped [B, V, F], of outputs without or behind the norm."""
    return np.asarray(x > 0)


@pytest.mark.parametrize(("normed", "bn"), [(False, "separate"), (True, "joint"), (True, "separate"), (True, 2)])
def test_every_view_and_group_has_a_draw_of_its_own_and_the_same_key_the_same_one(normed, bn):
    module = Dropped(normed)
    stats = module.init(jax.random.key(0), ONES[:, 0], train=False).get("batch_stats")
    run = lambda key: kept(forward_views(module, {}, stats, ONES, bn=bn, noise=jax.random.key(key))[0])  # noqa: E731
    first = run(0)
    np.testing.assert_array_equal(first, run(0))
    rows = [*first.reshape(16, -1), run(1)[0, 0]]
    assert len({row.tobytes() for row in rows}) == len(rows)


def test_modules_and_the_teacher_draw_apart():
    chain, key = {"encoder": Dropped(), "head": Dropped()}, jax.random.key(0)
    outs, _ = forward_chain(chain, {"encoder": {}, "head": {}}, {}, ONES, noise=key)
    both = kept(outs["head"]).mean()
    assert 0.2 < both < 0.3  # a half of a half: one draw for both modules would leave a half

    class Taught(WithTeacher):
        modules = chain

    method = Taught(encoder=chain["encoder"], augment=None)
    params = {"encoder": {}, "head": {}}
    student, _ = method.student(params, {}, ONES, noise=key)
    teacher, _ = method.teacher({"teacher": params}, ONES, noise=key)
    assert 0.4 < (kept(student["encoder"]) == kept(teacher["encoder"])).mean() < 0.6
