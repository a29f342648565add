"""One list of modules: of any depth and number, it says what is computed in which type, and what plan counts."""

from dataclasses import dataclass
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.core import FrozenDict
from modalities import TextEncoder

from ssl_jax.data.image.views import ImageViews
from ssl_jax.errors import UserError
from ssl_jax.models.heads import ProjectionHead
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.base import Encoder, Objective, State
from ssl_jax.objectives.mae import MAE
from ssl_jax.objectives.shared.modules import computing_in, modules_in, options_set, with_modules
from ssl_jax.plan.estimate import remat, tokens, wire, with_options
from ssl_jax.plan.problem import Problem
from ssl_jax.training.step import Setup

VIT = ViT(16, 1, 2, 32, patch=4)
WHOLE = ImageViews(8, (0.3,), (0.4,), {"image": {}})


class Towers(nn.Module):
    """Models inside a module: one in a field, others in a tuple."""

    front: nn.Module
    others: tuple[nn.Module, ...] = ()

    def features(self, tokens, valid, train=False):
        return self.front.features(tokens, valid, train)


@dataclass(frozen=True)
class Pair(Objective):
    """Two models by name, and a head."""

    head_dtype: str = ""

    @property
    def modules(self):
        own = self.head_dtype or self.encoder["image"].dtype
        return {**super().modules, "head": ProjectionHead((), 4, dtype=own)}

    def encoders(self):
        image = Encoder(self.encoder["image"], ("params", "image"), ("image",), WHOLE.evaluation)
        text = Encoder(self.encoder["text"], ("params", "text"), ("tokens", "valid"), dict)
        return {"image": image, "teacher": image, "text": text}


TEXT = Towers(TextEncoder(), (TextEncoder(4, dtype="bfloat16"), nn.Dense(3)))
PAIR = Pair(FrozenDict(image=VIT, text=TEXT), WHOLE)


def test_every_module_at_any_depth_computes_in_the_type_that_is_asked_for():
    wide = computing_in(PAIR, "float64")
    found = [m for m in modules_in(tuple(wide.modules.values())) if getattr(m, "dtype", None) is not None]
    assert len(found) == 4  # ViT, both text encoders, head; a Dense that names none follows its input
    assert {m.dtype for m in found} == {"float64"}
    assert hash(wide) != hash(PAIR)
    assert computing_in(wide, "float64") is wide
    words, valid = np.zeros((2, 3), np.int32), np.ones((2, 3), bool)
    with jax.enable_x64(True):
        variables = jax.tree.map(
            lambda x: jnp.zeros(x.shape, jnp.float64),
            jax.eval_shape(lambda: wide.encoder["text"].init(jax.random.key(0), words, valid, method="features")),
        )
        out = jax.eval_shape(lambda v: wide.encoder["text"].apply(v, words, valid, method="features"), variables)
        assert out.dtype == jnp.float64


def test_a_module_that_does_not_follow_is_refused_by_name():
    with pytest.raises(UserError, match=r"Pair: the module 'head' computes in float32.*looked at in float64"):
        computing_in(Pair(PAIR.encoder, WHOLE, "float32"), "float64")


def test_changes_reach_modules_and_leave_everything_else_as_it_is():
    assert with_modules(PAIR, lambda module: module) is PAIR
    quiet = with_modules(PAIR, lambda module: options_set(module, drop_path=0.5, dropout=0.0))
    assert quiet.encoder["image"] == VIT.clone(drop_path=0.5)
    assert quiet.encoder["text"] is TEXT


def test_plan_counts_the_tokens_weights_and_policies_of_every_model():
    views = {
        "image": jnp.zeros((2, 3, 8, 8, 1)), "local": jnp.zeros((2, 4, 4, 4, 1)), "noise": jnp.zeros((2, 5)),
        "tokens": jnp.zeros((2, 2, 7), jnp.int32), "valid": jnp.zeros((2, 2, 7), bool),
    }  # fmt: skip
    setup = SimpleNamespace(objective=PAIR, views=lambda state, batch: (views, None))
    params = {
        "image": {"w": np.zeros(10)},
        "text": {"w": np.zeros(20)},
        "head": {"w": np.zeros(3)},
        "scale": np.zeros(2),
    }
    posed, state = SimpleNamespace(setup=setup, batch={}), State(params, {})
    assert tokens(posed, state) == 3 * 4 + 4 * 1 + 2 * 7
    assert wire(posed, state) == 4 * 35
    narrow = computing_in(PAIR, "bfloat16")
    assert wire(SimpleNamespace(setup=SimpleNamespace(objective=narrow)), state) == 2 * 35
    assert remat(posed) == "full"
    real = Problem({}, (), None, 1, Setup(PAIR, None, 0, 1), {}, False)
    plain = with_options(real, remat="none", attention="flash")
    assert {m.remat for m in modules_in(plain.setup.objective) if hasattr(m, "remat")} == {"none"}
    assert {m.attention for m in modules_in(plain.setup.objective) if hasattr(m, "attention")} == {"flash"}
    assert with_options(plain, remat="none") is plain


def test_the_list_of_a_method_holds_what_it_reads_with():
    mae = MAE(VIT, WHOLE)
    assert list(mae.modules) == ["encoder", "decoder"]
    assert computing_in(mae, "bfloat16").modules["decoder"].dtype == "bfloat16"


def test_several_models_need_an_answer_to_what_each_is_given():
    with pytest.raises(UserError, match=r"Objective has the models image, text .* a method `encoders`"):
        Objective(PAIR.encoder, WHOLE).encoders()
