"""Language models: what a loss counts, that packed is alone, known answers, and refusals before anything runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.text.views import TextViews
from ssl_jax.errors import UserError
from ssl_jax.losses.diffusion import loss_weight, move_chance, stratified_times, substituted
from ssl_jax.models.text import EncoderDecoder, TextTransformer
from ssl_jax.objectives.base import Keys, Out, Progress
from ssl_jax.objectives.causal_lm import CausalLM
from ssl_jax.objectives.denoising import Denoising
from ssl_jax.objectives.mdlm import MDLM
from ssl_jax.objectives.mlm import MLM

V, T, ROWS = 60, 16, 64
WORDS = {"size": V, "pad": 0, "mask": 1, "start": 2, "end": 3, "sentinels": 4}
VIEWS = TextViews(WORDS)
PROGRESS = Progress(0, 1)
NOISE = jax.random.key(7)


def model(**options):
    return TextTransformer(V, 16, 1, 2, 32, T, remat="none", **options)


def batch():
    rng = np.random.default_rng(0)
    length = rng.integers(4, T + 1, ROWS)
    tokens = np.where(np.arange(T) < length[:, None] - 1, rng.integers(5, V - 4, (ROWS, T)), 3)
    tokens[:, 0] = 2
    return {"tokens": jnp.asarray(np.where(np.arange(T) < length[:, None], tokens, 0))}


BATCH = batch()
KEYS = Keys(jax.random.split(jax.random.key(0), ROWS), jax.random.key(1))


def test_of_hidden_tokens_eight_in_ten_are_masks_and_only_hidden_ones_change():
    objective = MLM(model(), VIEWS, mask_ratio=0.3)
    views = jax.jit(lambda keys: objective.views(keys, BATCH, PROGRESS))(KEYS)
    read, original = np.asarray(views["tokens"][:, 0]), np.asarray(BATCH["tokens"])
    hidden = np.zeros_like(original, bool)
    for i in range(ROWS):
        hidden[i, np.asarray(views["at"])[i][np.asarray(views["weights"])[i] > 0]] = True
    assert (read == original)[~hidden].all()
    assert not np.isin(original[hidden], [0, 1, 2, 3, 56, 57, 58, 59]).any()  # signs are never hidden
    assert 0.7 < (read == 1)[hidden].mean() < 0.9
    assert 0.03 < (read == original)[hidden].mean() < 0.2


def test_a_packed_row_counts_and_learns_as_its_documents_do_alone():
    objective = CausalLM(model(causal=True), VIEWS)
    tokens = jnp.arange(5, 5 + T)[None]
    segments = jnp.array([[1] * 6 + [2] * 7 + [0] * 3])
    places = jnp.array([[*range(6), *range(7), 0, 0, 0]])
    packed = {"tokens": tokens[:, None], "segments": segments[:, None], "positions": places[:, None]}
    alone = [
        {
            "tokens": jnp.zeros_like(tokens).at[0, :n].set(tokens[0, a : a + n])[:, None],
            "segments": (jnp.arange(T) < n).astype(int)[None, None],
            "positions": jnp.minimum(jnp.arange(T), n)[None, None],
        }
        for a, n in ((0, 6), (6, 7))
    ]
    with jax.enable_x64(True):
        double = CausalLM(model(causal=True, dtype="float64"), VIEWS)
        params = jax.tree.map(lambda x: x.astype("float64"), objective.init(jax.random.key(0), packed).params)

        def total(params, views):
            found = double.loss(params, {}, views, NOISE, PROGRESS).losses["cross_entropy"]
            return found.total, found.weight

        graded = jax.jit(jax.value_and_grad(total, has_aux=True))
        (value, weight), gradient = jax.tree.map(np.asarray, graded(params, packed))
        parts = jax.tree.map(np.asarray, [graded(params, views) for views in alone])
    assert weight == 5 + 6 == sum(p[0][1] for p in parts)
    np.testing.assert_allclose(value, sum(p[0][0] for p in parts), rtol=1e-9)
    added = jax.tree.map(np.add, *(p[1] for p in parts))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9), gradient, added)


def test_with_the_true_marginals_the_diffusion_bound_is_the_entropy():
    words, rows, length, mask = 6, 4096, 8, 5
    chance = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
    rng = np.random.default_rng(0)
    tokens = jnp.asarray(rng.choice(5, (rows, length), p=chance))
    times = stratified_times(jnp.asarray(rng.uniform(size=rows)), jnp.arange(rows), rows, 1e-3)
    gone = jnp.asarray(rng.uniform(size=(rows, length))) < move_chance(times, 1e-3)[:, None]
    hidden = jnp.where(gone, mask, tokens)
    logits = jnp.broadcast_to(jnp.log(jnp.append(jnp.asarray(chance), 1.0)), (rows, length, words))
    nats = -jnp.take_along_axis(substituted(logits, hidden, mask), tokens[..., None], axis=-1)[..., 0]
    bound = (loss_weight(times, 1e-3)[:, None] * nats).mean()
    assert bound == pytest.approx(-(chance * np.log(chance)).sum(), rel=0.01)
    assert np.array_equal(np.floor(np.asarray(times - 1e-3) / (1 - 1e-3) * rows), np.arange(rows))  # one in each part


def test_times_of_diffusion_are_one_in_each_part_and_the_same_in_any_order_and_microbatch():
    objective = MDLM(model(positions="rope", condition=8, norm="layer_unbiased"), VIEWS)
    made = jax.jit(lambda keys, batch: objective.views(keys, batch, PROGRESS))
    views = made(KEYS, BATCH)
    assert sorted(np.floor((views["time"] - 1e-3) / (1 - 1e-3) * ROWS)) == list(range(ROWS))
    turned = np.roll(np.arange(ROWS), 1)
    half = np.arange(ROWS // 2)
    for rows in (turned, half):
        there = made(Keys(KEYS.example[rows], KEYS.step, KEYS.example), {k: v[rows] for k, v in BATCH.items()})
        jax.tree.map(lambda a, b, rows=rows: np.testing.assert_array_equal(a[rows], b), views, there)


def test_samples_of_diffusion_hold_no_mask_and_keep_what_was_told():
    objective = MDLM(model(positions="rope", condition=8, norm="layer_unbiased"), VIEWS)
    views = jax.jit(lambda keys: objective.views(keys, BATCH, PROGRESS))(KEYS)
    params = jax.jit(objective.init)(jax.random.key(0), views).params
    found = jax.jit(lambda p, k: objective.sample(p, k, rows=4, length=T, steps=5))(params, jax.random.key(1))
    assert found.shape == (4, T)
    assert not (found == 1).any()
    loss = jax.jit(lambda p, v: objective.loss(p, {}, v, NOISE, PROGRESS).losses["bound"])(params, views)
    assert loss.weight == (BATCH["tokens"] > 0).sum()  # all real tokens, not only the hidden ones


@pytest.mark.parametrize("corruption", ["t5", "bart"])
def test_a_decoder_is_told_what_stands_before_a_token_and_nothing_after(corruption):
    pair = EncoderDecoder(model(), model(causal=True))
    objective = Denoising(pair, VIEWS, corruption)
    views = jax.jit(lambda keys: objective.views(keys, BATCH, PROGRESS))(KEYS)
    params = jax.jit(objective.init)(jax.random.key(0), views).params
    nats = jax.jit(lambda v: objective._states(params, v))
    before, changed = nats(views), nats(views | {"target": views["target"].at[:, 3].set(7)})
    moved = jnp.abs(changed - before).max(axis=(0, 2)) > 0
    assert moved.tolist() == [False] * 4 + [True] * (moved.size - 4)
    shown = jax.tree.map(np.asarray, views)
    assert [len(row) for row in objective.preview(shown)["corruption"].rows] == [2] * ROWS


REFUSALS = {
    "mlm needs the token 'mask'": lambda: MLM(model(), TextViews({"size": V})),
    "objective.unit='letter'": lambda: MLM(model(), VIEWS, unit="letter"),
    "sees no later token": lambda: CausalLM(model(), VIEWS),
    "objective.average=1.0 must be": lambda: MDLM(model(), VIEWS, average=1.0),
    "sees both directions": lambda: MDLM(model(causal=True), VIEWS),
    "needs sentinels": lambda: Denoising(
        EncoderDecoder(model(), model(causal=True)), TextViews(WORDS | {"sentinels": 0})
    ),
    "denoising (bart) needs the token 'mask'": lambda: Denoising(
        EncoderDecoder(model(), model(causal=True)), TextViews({"size": V, "pad": 0, "end": 1}), "bart"
    ),
    "model.decoder one (causal=True)": lambda: EncoderDecoder(model(), model()),
}


@pytest.mark.parametrize("told", REFUSALS)
def test_what_cannot_work_is_refused_with_its_reason(told):
    with pytest.raises(UserError) as refused:
        REFUSALS[told]()
    assert told in str(refused.value)


def test_the_average_of_a_diffusion_model_is_what_validates_and_samples():
    """By hand: 2/11 and 3/12 of the average stay in its first two steps, and 0.3 at most."""
    objective = MDLM(model(positions="rope", condition=8, norm="layer_unbiased"), VIEWS, average=0.3)
    views = objective.views(Keys(jax.random.split(jax.random.key(0), ROWS), jax.random.key(1)), batch(), PROGRESS)
    start, extra = objective.init(jax.random.key(2), views)
    out, expected = Out({}), start
    for step, momentum in enumerate((2 / 11, 3 / 12, 0.3, 0.3)):
        params = jax.tree.map(lambda x, step=step: x + step + 1, start)
        expected = jax.tree.map(lambda a, b, m=momentum: m * a + (1 - m) * b, expected, params)
        _, extra = objective.update(params, extra, out, Progress(step, 10))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), extra["average"], expected)
    told = objective.validate(start, extra, views, NOISE)["nats"]
    plain = objective.validate(extra["average"], {}, views, NOISE)["nats"]
    assert float(told.total) == float(plain.total)
    assert objective.encoders()["average"].path == ("extra", "average", "encoder")
