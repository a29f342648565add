"""The text transformer: packed is alone, padding is nothing, causal sees no future, buckets and readers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.models.relative import buckets
from ssl_jax.models.text import TextTransformer, first_token, last_token, mean_token

KINDS = {
    "bert": {"order": "post", "types": 2, "embedding_norm": True, "pool": "class"},
    "gpt2": {"causal": True, "mlp": "gelu_tanh", "pool": "last"},
    "llama": {"causal": True, "positions": "rope", "norm": "rms", "bias": False, "mlp": "swiglu", "kv_heads": 1},
    "t5": {
        "positions": "relative",
        "norm": "rms",
        "bias": False,
        "mlp": "geglu_tanh",
        "attention_scale": 1.0,
        "head_width": 16,
    },
}
TEXT = {
    "tokens": jnp.array([[5, 6, 7, 8, 9, 10, 0, 0], [3, 4, 5, 6, 7, 8, 9, 1]]),
    "segments": jnp.array([[1, 1, 1, 2, 2, 2, 0, 0], [1] * 8]),
    "positions": jnp.array([[0, 1, 2, 0, 1, 2, 0, 0], list(range(8))]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_text_is_what_it_is_alone_and_order_is_kept(kind):
    model = TextTransformer(11, 32, 2, 2, 64, 16, remat="none", **KINDS[kind])
    variables = jax.jit(model.init)(jax.random.key(0), **TEXT)
    run = jax.jit(lambda text: model.apply(variables, **text))
    states = run(TEXT)
    alone = run({name: jnp.zeros_like(x).at[0, :3].set(x[0, 3:6]) for name, x in TEXT.items()})
    np.testing.assert_allclose(states[0, 3:6], alone[0, :3], atol=2e-6)
    changed = run(TEXT | {"tokens": TEXT["tokens"].at[1, -1].set(2)})
    moved = jnp.abs(changed - states)[1, :-1].max()
    assert (moved == 0) == model.causal
    features = jax.eval_shape(lambda text: model.apply(variables, **text, method="features"), TEXT)
    assert features.shape == (2, 32)


def test_distances_fall_into_the_buckets_of_t5():
    both = buckets(1, 300, 32, 128, both=True)[0][::-1]  # the query is the last key: distances 0, -1, -2, ...
    assert both[:9].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert both[[16, 63, 127, 128, 299]].tolist() == [10, 13, 15, 15, 15]
    square = buckets(4, 4, 32, 128, both=True)
    assert square[0].tolist() == [0, 17, 18, 19]
    assert buckets(4, 4, 32, 128, both=False)[0].tolist() == [0, 0, 0, 0]


def test_texts_are_read_at_their_first_mean_or_last_token():
    states = jnp.arange(12.0).reshape(1, 4, 3)
    valid = jnp.array([[True, True, False, False]])
    found = [read(states, valid)[0].tolist() for read in (first_token, mean_token, last_token)]
    assert found == [[0, 1, 2], [1.5, 2.5, 3.5], [3, 4, 5]]


def test_initial_weights_are_those_of_gpt2_and_t5():
    def spread(initial):
        model = TextTransformer(300, 64, 2, 4, 128, 8, initial=initial, mlp="relu", remat="none")
        params = jax.jit(model.init)(jax.random.key(0), **TEXT)["params"]
        blocks = params["transformer"]["blocks"]
        kernels = {name: blocks[name]["kernel"] for name in ("proj", "fc1", "fc2")}
        qkv = dict(zip(("query", "key", "value"), jnp.moveaxis(blocks["qkv"]["kernel"], 2, 0), strict=True))
        return {name: float(x.std()) for name, x in {**kernels, **qkv, "table": params["tokens"]["embedding"]}.items()}

    near = {"rel": 0.05}
    same = dict.fromkeys(("fc1", "query", "key", "value", "table"), 0.02)
    assert spread("gpt2") == pytest.approx(same | {"proj": 0.01, "fc2": 0.01}, **near)  # two layers: four branches
    into = {"proj": 1 / 8, "fc1": 1 / 8, "fc2": 128**-0.5, "query": 1 / 8 / 4, "key": 1 / 8, "value": 1 / 8}
    assert spread("t5") == pytest.approx(into | {"table": 1.0}, **near)


def test_unknown_options_are_refused():
    with pytest.raises(UserError, match=r"model\.positions='sinus'"):
        TextTransformer(11, positions="sinus")
