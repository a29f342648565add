"""CPC, wav2vec 2.0 and the order of segments: what counts, who is a negative, equal on all meshes, refusals."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.audio.segments import orders, segments
from ssl_jax.data.audio.views import WaveViews
from ssl_jax.data.audio.waves import Clip
from ssl_jax.data.masks.spans import hidden_spans, other_places
from ssl_jax.devices.mesh import BATCH_AXES, make_mesh
from ssl_jax.errors import UserError
from ssl_jax.losses.codes import told_places, unused_codes
from ssl_jax.losses.predictive import among_batch, among_sequence
from ssl_jax.models.recurrent import GRU
from ssl_jax.models.wave import FrameTransformer, SequenceEncoder, WaveConv
from ssl_jax.objectives.base import Keys, Progress
from ssl_jax.objectives.cpc import CPC
from ssl_jax.objectives.finetune import Finetune
from ssl_jax.objectives.segment_order import SegmentOrder
from ssl_jax.objectives.wav2vec2 import Wav2Vec2

ROWS, T, NOW = 8, 400, Progress(0, 10)
LENGTHS = 80 + 40 * np.arange(ROWS)
RNG = np.random.default_rng(0)
BATCH = {"wave": RNG.normal(0, 0.1, (ROWS, T)).astype(np.float32), "valid": np.arange(T) < LENGTHS[:, None]}
KEYS = Keys(jax.random.split(jax.random.key(0), ROWS), jax.random.key(1))
VIEWS = WaveViews(rate=4000)
FRONT = {"widths": (8, 8), "kernels": (8, 4), "strides": (4, 2)}
CAUSAL = SequenceEncoder(WaveConv(**FRONT), GRU(8))
HIDING = SequenceEncoder(
    WaveConv(**FRONT, norm="time"), FrameTransformer(8, 1, 2, 16, kernel=4, groups=2, remat="none")
)
OBJECTIVES = {
    "cpc of the batch": CPC(CAUSAL, VIEWS, steps=3),
    "cpc of the sequence": CPC(CAUSAL, VIEWS, steps=3, negatives="sequence"),
    "wav2vec2": Wav2Vec2(HIDING, VIEWS, size=4, code_width=8, width=8, span=3, negatives=5),
}


def graded(objective):
    def total(params, views):
        out = objective.loss(params, {}, views, jax.random.key(3), NOW)
        return out.total(), {name: mean.value for name, mean in (out.losses | out.metrics).items()}

    return jax.jit(jax.value_and_grad(total, has_aux=True))


def started(objective):
    views = jax.jit(lambda batch: objective.views(KEYS, batch, NOW))(BATCH)
    return views, jax.jit(objective.init)(jax.random.key(0), views).params


@pytest.mark.parametrize(
    "name", [n if n == "cpc of the batch" else pytest.param(n, marks=pytest.mark.slow) for n in OBJECTIVES]
)
def test_loss_and_gradient_are_the_same_on_eight_devices_and_whatever_the_padding_is(name):
    objective = OBJECTIVES[name]
    views, params = started(objective)
    (loss, told), gradient = graded(objective)(params, views)
    with jax.set_mesh(make_mesh(8)):
        split = jax.NamedSharding(jax.sharding.get_mesh(), jax.P(BATCH_AXES))
        other = views | {"wave": jnp.where(views["valid"], views["wave"], 7.0)}
        (ours, again), ascent = graded(objective)(params, jax.device_put(other, split))
    np.testing.assert_allclose(ours, loss, rtol=1e-5)
    for measure in told:
        np.testing.assert_allclose(again[measure], told[measure], rtol=1e-5, err_msg=measure)
    norm = np.sqrt(sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(gradient)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * norm), ascent, gradient)
    assert all(max(float(jnp.abs(g).max()) for g in jax.tree.leaves(part)) > 0 for part in gradient.values())


def test_a_prediction_is_told_from_the_valid_latents_of_the_batch_or_of_the_sequence():
    latents = np.eye(12, dtype=np.float32).reshape(2, 6, 12)
    predicted = 50 * np.stack([np.roll(latents, -k, axis=1) for k in (1, 2)])
    valid = np.array([[True] * 6, [True] * 4 + [False] * 2])
    batch, sequence = (jax.jit(among) for among in (among_batch, among_sequence))
    for among in (batch, sequence):
        told = among(predicted, latents, valid)
        assert told.loss.weight == (5 + 4) + (3 + 2)
        assert told.accuracy.total == told.accuracy.weight
        assert told.loss.total == pytest.approx(0, abs=1e-6)
    nats = 5 * np.log(5) + 4 * np.log(4) + 3 * np.log(3) + 2 * np.log(2)
    assert sequence(0 * predicted, latents, valid).loss.total == pytest.approx(nats, rel=1e-6)
    # At a time when the other sequence is over there is no negative.
    assert batch(0 * predicted, latents, valid).loss.total == pytest.approx((3 + 2 + 3 + 2) * np.log(2), rel=1e-6)


def test_a_hidden_place_is_told_by_its_code_and_equal_codes_are_no_negatives():
    targets = np.eye(4, dtype=np.float32)[None, [0, 1, 2, 1]]
    others = np.array([[[1, 2], [3, 3], [0, 1], [1, 0]]])
    told = jax.jit(told_places)(targets, targets, np.array([[[0], [1], [2], [1]]]), others, 0.5)
    two, one = np.log(1 + 2 * np.exp(-2)), np.log(1 + np.exp(-2))
    np.testing.assert_allclose(told.nats[0], [two, 0, two, one], rtol=1e-5)
    assert told.right.all()
    unused = jax.jit(lambda usage: unused_codes(usage).total)
    assert unused(np.full((2, 4), 0.25)) == pytest.approx(0, abs=1e-5)
    assert unused(np.eye(4)[:2]) == pytest.approx(6 / 8, abs=1e-5)


def test_spans_are_as_many_as_published_and_negatives_are_other_hidden_frames():
    frames = jnp.arange(120) < 100

    @jax.jit
    @jax.vmap
    def drawn(key):
        hidden, few = (hidden_spans(key, frames, share, 10) for share in (0.65, 0.1))
        short = hidden_spans(key, jnp.arange(120) < 4, 0.65, 10)
        return hidden, few, short, other_places(key, hidden, 7), other_places(key, jnp.arange(120) == 2, 3)[2]

    hidden, few, short, others, alone = map(np.asarray, drawn(jax.random.split(jax.random.key(0), 2000)))
    # Of 100 frames 6 or 7 spans, at even odds; each start is as likely, and spans overlap as they fall.
    assert hidden.sum(1).mean() == pytest.approx(np.mean([_covered(count) for count in (6, 7)]), abs=0.4)
    assert hidden[:, 98].any()  # the last start is 89, and its span ends at 98
    assert not hidden[:, 99:].any()
    assert set(few.sum(1)) == set(range(11, 21))  # two spans at least
    assert (short.sum(1) == 4).all()
    assert hidden[np.arange(2000)[:, None, None], others][hidden].all()
    assert (others != np.arange(120)[:, None])[hidden].all()
    assert (alone == 2).all()


def _covered(count, draws=4000, frames=100, length=10):
    rng = np.random.default_rng(0)
    starts = np.stack([rng.choice(frames - length, count, replace=False) for _ in range(draws)])
    covered = (starts[:, :, None] + np.arange(length)).reshape(draws, -1)
    return np.mean([len(np.unique(row)) for row in covered])


def test_segments_lie_in_their_parts_and_the_label_says_their_order():
    objective = SegmentOrder(CAUSAL, VIEWS, segments=3, samples=24)
    views = jax.jit(lambda batch: objective.views(KEYS, batch, NOW))(BATCH)
    assert views["wave"].shape == views["valid"].shape == (ROWS, 3, 24)
    np.testing.assert_allclose(views["wave"].mean(-1), 0, atol=1e-5)
    ramp = Clip(jnp.arange(T, dtype=jnp.float32), jnp.asarray(BATCH["valid"][0]))
    found, long = jax.jit(lambda key: [segments(key, ramp, 3, size) for size in (24, 60)])(jax.random.key(2))
    assert (np.asarray(found.wave) // (80 // 3) == np.arange(3)[:, None]).all()
    assert found.valid.all()
    assert long.valid.sum() == 3 * (
        80 // 3
    )  # of parts that are too short all is shown, and nothing of their neighbours
    state = jax.eval_shape(objective.init, jax.random.key(0), views)
    out = jax.eval_shape(lambda s: objective.loss(s.params, s.extra, views, jax.random.key(0), NOW), state)
    assert set(out.metrics) == {"accuracy"}
    assert orders(3).tolist()[3] == [1, 2, 0]


REFUSALS = {
    "have seen it": lambda: CPC(HIDING, VIEWS),
    "objective.negatives='all'": lambda: CPC(CAUSAL, VIEWS, negatives="all"),
    "more than that": lambda: jax.eval_shape(
        CPC(CAUSAL, VIEWS, steps=60).init, jax.random.key(0), {k: x[:, None] for k, x in BATCH.items()}
    ),
    "wav2vec2 hides frames": lambda: Wav2Vec2(CAUSAL, VIEWS),
    "objective.mask_share=1.5": lambda: Wav2Vec2(HIDING, VIEWS, mask_share=1.5),
    "objective.segments=6": lambda: SegmentOrder(CAUSAL, VIEWS, segments=6).modules,
}


@pytest.mark.parametrize("told", REFUSALS)
def test_what_cannot_work_is_refused_with_its_reason(told):
    with pytest.raises(UserError) as refused:
        REFUSALS[told]()
    assert told in str(refused.value)


def test_accumulation_is_refused_where_rows_meet():
    refusals = {name: o.accumulation_refusal({}) for name, o in OBJECTIVES.items()}
    assert refusals["cpc of the sequence"] is None
    assert "gradient_cache" in refusals["cpc of the batch"]
    assert "diversity loss" in refusals["wav2vec2"]
    assert all(o.gradient_cache_refusal({}) is None for o in OBJECTIVES.values())


def test_texts_are_learned_by_their_symbols_and_told_by_their_errors():
    objective = Finetune(CAUSAL, VIEWS, classes=5, label="symbols", method="told", task="text")
    symbols = RNG.integers(1, 5, (ROWS, 3)).astype(np.int32)
    views = {k: x[:, None] for k, x in BATCH.items()} | {"symbols": symbols}
    state = jax.eval_shape(objective.init, jax.random.key(0), views)
    out = jax.eval_shape(lambda s: objective.loss(*s, views, jax.random.key(0), NOW), state)
    assert (set(out.losses), set(out.metrics)) == ({"ctc"}, {"cer", "wer"})
    assert state.params["head"]["dense_out"]["kernel"].shape == (8, 5)
    for options, told in (({"smoothing": 0.1}, "no smoothing"), ({"method": "features"}, "method=told")):
        with pytest.raises(UserError, match=told):
            replace(objective, **options)
