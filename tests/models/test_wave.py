"""Encoders of waves: what padding does to them (nothing), what a context has seen, and a GRU against the library's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ssl_jax.devices.mesh import BATCH_AXES, make_mesh
from ssl_jax.errors import UserError
from ssl_jax.evaluate.readings import Reading, read
from ssl_jax.models.recurrent import GRU, GRULayer
from ssl_jax.models.wave import ConvPositions, Frames, FrameTransformer, SequenceEncoder, WaveConv, moments, stretches
from ssl_jax.objectives.base import Encoder

LENGTHS = np.array([200, 137, 61, 8])
VALID = jnp.arange(200) < LENGTHS[:, None]
RNG = np.random.default_rng(0)
WAVE = jnp.asarray(RNG.normal(size=(4, 200)), jnp.float32)
FRONT = {"widths": (6, 8), "kernels": (8, 4), "strides": (4, 2)}
TRANSFORMER = FrameTransformer(8, 2, 2, 16, kernel=4, groups=2, remat="none")
ENCODERS = {
    "cpc": SequenceEncoder(WaveConv(**FRONT), GRU(8)),
    "wav2vec2": SequenceEncoder(WaveConv(**FRONT, norm="time", activation="gelu"), TRANSFORMER),
}


def made(encoder):
    variables = jax.jit(encoder.init)(jax.random.key(0), WAVE, VALID)
    return variables, jax.jit(lambda wave, valid: encoder.apply(variables, wave, valid, method="told"))


@pytest.mark.parametrize("name", ENCODERS)
def test_padding_is_nothing_and_frames_are_counted_as_the_convolutions_do(name):
    _, run = made(ENCODERS[name])
    states, valid = run(jnp.where(VALID, WAVE, 0), VALID)
    assert valid.sum(1).tolist() == [(max((n - 8) // 4 + 1, 0) - 4) // 2 + 1 if n > 8 else 0 for n in LENGTHS]
    np.testing.assert_allclose(run(jnp.where(VALID, WAVE, 9.0), VALID).states[valid], states[valid], atol=1e-5)
    alone, all_valid = run(WAVE[1:2, :137], jnp.ones((1, 137), bool))
    assert all_valid.all()
    np.testing.assert_allclose(states[1, : alone.shape[1]], alone[0], atol=1e-5)


def test_a_causal_context_has_not_seen_what_comes_later():
    encoder = ENCODERS["cpc"]
    _, run = made(encoder)
    assert encoder.causal
    frame = 11  # its last sample is 11 * 8 + 20 - 1
    later = run(WAVE.at[:, frame * 8 + encoder.front.reach :].add(1.0), jnp.ones_like(VALID)).states
    states = run(WAVE, jnp.ones_like(VALID)).states
    assert jnp.array_equal(later[:, : frame + 1], states[:, : frame + 1])
    assert jnp.abs(later - states)[:, frame + 1].min(axis=0).max() > 0
    assert not ENCODERS["wav2vec2"].causal


def test_a_gru_is_the_librarys_and_stands_still_where_nothing_is_valid():
    x, valid = (
        jnp.asarray(np.random.default_rng(1).normal(size=(2, 5, 3)), jnp.float32),
        jnp.arange(5) < jnp.array([[5], [3]]),
    )
    layer = GRULayer(4)
    params = layer.init(jax.random.key(0), x, valid)["params"]
    params = jax.tree.map(lambda p: jnp.asarray(np.random.default_rng(2).normal(size=p.shape), jnp.float32), params)
    inputs = {k: jnp.split(params["input"][k], 3, -1) for k in ("kernel", "bias")}
    recurrent = jnp.split(params["kernel"], 3, -1)
    theirs = {f"i{g}": {k: inputs[k][i] for k in inputs} for i, g in enumerate("rzn")}
    theirs |= {f"h{g}": {"kernel": recurrent[i]} for i, g in enumerate("rzn")}
    theirs["hn"]["bias"] = params["bias"]
    expected = nn.RNN(nn.GRUCell(4)).apply({"params": {"cell": theirs}}, x)
    found = layer.apply({"params": params}, x, valid)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)
    np.testing.assert_allclose(found[1, :3], expected[1, :3], atol=1e-6)
    np.testing.assert_array_equal(found[1, 3:], found[1, [2, 2]])


def test_probes_read_frames_a_middle_layer_and_means_without_padding():
    module = ENCODERS["wav2vec2"]
    variables, run = made(module)
    encoder = Encoder(module, (), ("wave", "valid"), lambda batch: batch)
    readings = [Reading(), Reading("tokens"), Reading("mean"), Reading("mean", -2), Reading("tokens", -3)]
    found = jax.jit(lambda batch: read(encoder, variables, batch, readings))({"wave": WAVE, "valid": VALID})
    states, valid = run(WAVE, VALID)
    np.testing.assert_allclose(found[readings[1]], states, atol=1e-6)
    np.testing.assert_allclose(found[readings[2]][1], states[1][valid[1]].mean(0), atol=1e-6)
    np.testing.assert_allclose(found[readings[0]], found[readings[2]], atol=1e-6)
    assert [found[r].shape for r in readings[3:]] == [(4, 8), (4, 23, 8)]
    assert not found[readings[2]][3].any()  # a record without a whole frame
    both = np.asarray(moments(states, valid))[1]
    np.testing.assert_allclose(both, [*states[1][valid[1]].mean(0), *states[1][valid[1]].std(0)], atol=1e-4)
    parts = np.split(np.asarray(states[0]), np.cumsum([3] * 7))  # 23 frames, all valid
    np.testing.assert_allclose(stretches(states, valid)[0], np.concatenate([x.mean(0) for x in parts]), atol=1e-6)
    inner = module.clone(layer=-2).apply(variables, WAVE, VALID, method="features")
    np.testing.assert_allclose(inner, found[readings[3]], atol=1e-6)
    with pytest.raises(UserError, match=r"model\.layer=-4: this encoder has 3"):
        module.clone(layer=-4).apply(variables, WAVE, VALID, method="features")


def test_the_gradient_of_positions_is_the_same_where_the_mesh_has_copies():
    model = ConvPositions(4, 2)
    x = jnp.asarray(RNG.normal(size=(8, 12, 8)), jnp.float32)
    params = jax.jit(model.init)(jax.random.key(0), x)
    graded = jax.jit(jax.grad(lambda params, x: jnp.square(model.apply(params, x)).mean()))
    expected = graded(params, x)
    with jax.set_mesh(make_mesh(1, 4, 2)):
        found = graded(params, jax.device_put(x, jax.NamedSharding(jax.sharding.get_mesh(), jax.P(BATCH_AXES))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), found, expected)


def test_sequences_that_are_too_short_and_lists_that_do_not_fit_are_refused():
    front = WaveConv(**FRONT)
    with pytest.raises(UserError, match="10 samples is shorter than a frame, 20"):
        jax.eval_shape(front.init, jax.random.key(0), WAVE[:, :10], VALID[:, :10])
    for options, told in (({"kernels": (8,)}, "give one of each"), ({"norm": "batch"}, "norm='batch' is unknown")):
        with pytest.raises(UserError, match=told):
            WaveConv(**FRONT | options)
    with pytest.raises(UserError, match="not divisible by groups=3"):
        jax.eval_shape(TRANSFORMER.clone(groups=3).init, jax.random.key(0), Frames(WAVE[..., None], VALID))
