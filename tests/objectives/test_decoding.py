"""Writing with a cache is reading everything again, and choices are from what may be chosen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.text.views import TextViews
from ssl_jax.errors import UserError
from ssl_jax.models.cache import widened
from ssl_jax.models.text import TextTransformer
from ssl_jax.models.transformer import Memory
from ssl_jax.objectives.causal_lm import CausalLM
from ssl_jax.objectives.shared.decoding import Sampler, of_largest, of_nucleus, prompted, reader

V, T, P = 23, 9, 4
LENGTHS = jnp.array([4, 2])
TOKENS = jnp.asarray(np.random.default_rng(0).integers(4, V, (2, T)))
KINDS = {
    "gpt2": {"mlp": "gelu_tanh"},
    "llama": {"positions": "rope", "norm": "rms", "bias": False, "mlp": "swiglu", "kv_heads": 1},
    "t5 decoder": {
        "positions": "relative",
        "norm": "rms",
        "bias": False,
        "attention_scale": 1.0,
        "relative_buckets": 8,
    },
}


def model(**options):
    return TextTransformer(V, 16, 2, 2, 32, T + P, causal=True, remat="none", **options)


def stepwise(module, params, memory, text):
    """States [B, T, D], the first P at once and every other one behind the cache."""
    read = jax.jit(lambda params, text, cache: reader(module, params, None, False, memory)(text, cache))
    states, cache = read(params, tuple(x[:, :P] for x in text), None)
    parts, cache = [states], widened(cache, T - P)
    for i in range(P, T):
        states, cache = read(params, tuple(x[:, i : i + 1] for x in text), cache)
        parts.append(states)
    return jnp.concatenate(parts, axis=1)


@pytest.mark.parametrize(("kind", "dtype"), [(kind, "float64") for kind in KINDS])
def test_states_step_by_step_are_those_of_the_full_pass(kind, dtype):
    module = model(dtype=dtype, **KINDS[kind])
    # The second text has two tokens of prompt, so that its next ones lie behind two slots of padding; T5 knows no such gaps.
    ragged = kind != "t5 decoder"
    holes = (jnp.arange(T)[None] >= LENGTHS[:, None]) & (jnp.arange(T) < P) if ragged else jnp.zeros((2, T), bool)
    places = jnp.where(holes, 0, jnp.cumsum(~holes, axis=1) - 1)
    text = TOKENS, (~holes).astype(jnp.int32), places
    with jax.enable_x64(dtype == "float64"):
        states = jnp.asarray(np.random.default_rng(1).normal(size=(2, 5, 16)), dtype)
        memory = None if ragged else Memory(states, jnp.arange(5) < jnp.array([[5], [3]]))
        params = jax.jit(lambda k: module.init(k, *text, memory=memory))(jax.random.key(0))["params"]
        params = jax.tree.map(lambda x: x.astype(dtype), params)
        full = jax.jit(lambda p: module.apply({"params": p}, *text, memory=memory))(params)
        steps = stepwise(module, params, memory, text)
    real = np.asarray(~holes)
    limit = 1e-11 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(np.asarray(steps)[real], np.asarray(full)[real], atol=limit)


def test_greedy_samples_are_the_first_guesses_of_the_full_pass_and_end_at_the_sign():
    objective = CausalLM(model(**KINDS["llama"]), TextViews({"size": V, "pad": 0, "end": 3}))
    views = {
        name: x[:, None] for name, x in zip(objective.augment.inputs, prompted(TOKENS, jnp.full(2, T)), strict=True)
    }
    params = jax.tree.map(lambda x: 5 * x, jax.jit(objective.init)(jax.random.key(0), views).params)
    prompts, new = TOKENS[:, :P], T - P
    said = np.asarray(jax.jit(lambda p: objective.sample(p, jax.random.key(1), prompts, LENGTHS, new))(params))
    whole = np.asarray(TOKENS).copy()
    for row, length in enumerate(LENGTHS.tolist()):
        whole[row, length : length + new] = said[row]
    states = jax.jit(lambda p: objective.encoder.apply({"params": p["encoder"]}, *prompted(whole, LENGTHS + new)))(
        params
    )
    guesses = np.asarray((states @ params["encoder"]["tokens"]["embedding"].T).argmax(axis=-1))
    for row, length in enumerate(LENGTHS.tolist()):
        ended = np.cumsum(said[row] == 3) - (said[row] == 3) > 0
        first = guesses[row, length - 1 : length + new - 1]
        assert np.array_equal(said[row], np.where(ended, 3, first))
    assert len(set(said.ravel().tolist())) > 2
    with pytest.raises(UserError, match=r"more than model\.length=13"):
        CausalLM(model(), objective.augment).sample(params, jax.random.key(1), prompts, LENGTHS, 10)


def test_only_what_may_be_chosen_is_chosen_and_as_often_as_it_is_likely():
    chance = jnp.array([0.5, 0.25, 0.15, 0.1])
    logits = jnp.log(chance)[None]
    kept = [
        np.isfinite(x[0]).tolist() for x in (of_largest(logits, 2), of_nucleus(logits, 0.5), of_nucleus(logits, 0.51))
    ]
    assert kept == [[True, True, False, False], [True, False, False, False], [True, True, False, False]]
    rows = jnp.repeat(logits, 20_000, axis=0)
    drawn = {
        "all": Sampler()(jax.random.key(0), rows),
        "two": Sampler(temperature=0.5, top_k=2)(jax.random.key(0), rows),
        "largest": Sampler(temperature=0.0)(jax.random.key(0), rows),
    }
    share = {name: np.bincount(x, minlength=4) / len(x) for name, x in drawn.items()}
    np.testing.assert_allclose(share["all"], chance, atol=0.012)
    np.testing.assert_allclose(share["two"], [0.8, 0.2, 0, 0], atol=0.012)  # squares of the chances
    assert share["largest"][0] == 1
    with pytest.raises(UserError, match="nucleus=0"):
        Sampler(nucleus=0.0)
