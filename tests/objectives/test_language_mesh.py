"""Words over the tensor axis: loss, metrics and gradient of one device, and never the logits of all tokens."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.text.views import TextViews
from ssl_jax.devices.mesh import BATCH_AXES, leaf_spec, make_mesh, state_shardings
from ssl_jax.models.text import TextTransformer
from ssl_jax.objectives.base import Progress
from ssl_jax.objectives.causal_lm import CausalLM

ROWS, T, V = 8, 32, 640


def rows():
    """Rows of two documents and padding, of which none counts as many tokens as another."""
    length = 3 + np.arange(ROWS) * 29 // ROWS
    places = np.broadcast_to(np.arange(T), (ROWS, T))
    segments = np.where(places < length[:, None], 1 + (places >= 2), 0)
    tokens = np.random.default_rng(0).integers(0, V, (ROWS, T))
    return {name: jnp.asarray(x)[:, None] for name, x in zip(TextViews.inputs, (tokens, segments, places), strict=True)}


def objective(method):
    model = TextTransformer(V, 32, 1, 4, 64, T, causal=True, positions="rope", remat="none", initial="gpt2")
    return CausalLM(model, TextViews({"size": V}), tied=False, z=1e-2, method=method)


def graded(method):
    def total(params, views):
        out = objective(method).loss(params, {}, views, jax.random.key(0), Progress(0, 1))
        return out.total(), {name: mean.value for name, mean in out.metrics.items()}

    return jax.jit(jax.value_and_grad(total, has_aux=True))


def test_loss_metrics_and_gradient_are_those_of_one_device():
    views = rows()
    params = jax.jit(objective("auto").init)(jax.random.key(0), views).params
    (loss, metrics), gradient = graded("plain")(params, views)
    with jax.set_mesh(make_mesh(2, 2, 2)):
        places = state_shardings(params, jax.sharding.get_mesh(), smallest=1)
        split = jax.NamedSharding(jax.sharding.get_mesh(), jax.P(BATCH_AXES))
        program = graded("ring").lower(jax.device_put(params, places), jax.device_put(views, split)).compile()
        (ours, told), ascent = program(jax.device_put(params, places), jax.device_put(views, split))
    np.testing.assert_allclose(ours, loss, rtol=1e-6)
    assert set(told) == {"accuracy", "nats", "log_sum_squared"}
    np.testing.assert_allclose(loss, metrics["nats"] + 1e-2 * metrics["log_sum_squared"], rtol=1e-6)
    for name in told:
        np.testing.assert_allclose(told[name], metrics[name], rtol=1e-5)
    norm = np.sqrt(sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(gradient)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * norm), ascent, gradient)
    # A device has 2 rows of 32 tokens and half of the words; it never holds their logits, nor those of more.
    sizes = [np.prod([int(n) for n in dims.split(",")]) for dims in re.findall(r"f32\[([\d,]+)\]", program.as_text())]
    assert max(sizes) < 2 * T * V // 2


def test_tables_of_words_are_split_over_tensor_where_it_divides_them():
    sizes = {"data": 1, "fsdp": 2, "tensor": 4}
    specs = {
        "params/encoder/tokens/embedding": ((640, 32), jax.P("tensor", "fsdp")),
        "opt_state/0/mu/words/table": ((640, 32), jax.P("tensor", "fsdp")),
        "params/head/bias": ((640,), jax.P("tensor")),
        "params/encoder/places/embedding": ((64, 128), jax.P(None, "fsdp")),
        "params/words/table": ((50_257, 32), jax.P(None, "fsdp")),
    }
    assert {name: leaf_spec(name, shape, sizes) for name, (shape, _) in specs.items()} == {
        name: spec for name, (_, spec) in specs.items()
    }
