import jax
import numpy as np
import optax
import pytest

from ssl_jax.evaluate import heads, lanes
from ssl_jax.evaluate.batches import NORMS, Beside, Prepared, Some, moments
from ssl_jax.evaluate.heads import CLASSES, LABELS, MLP, NUMBERS, Attentive, Linear
from ssl_jax.evaluate.lanes import Lanes, Training, adamw, fit, grid, lanes_at_once, lars, outputs, scores, sgd

rng = np.random.default_rng(0)
X = rng.standard_normal((70, 6)).astype(np.float32)
Y = rng.integers(0, 3, 70).astype(np.int32)


def alone(every, i):
    return Lanes(*(part[i : i + 1] for part in every))


@pytest.mark.parametrize(
    ("head", "x", "rule"),
    [(Linear(6, 3), X, lars), (MLP(6, (5,), 3), X, adamw)],
    ids=["linear", "mlp"],
)
def test_a_lane_among_others_is_what_it_would_be_alone(head, x, rule):
    every, training = grid((0.01, 0.3), (0.0, 0.1)), Training(rule, epochs=2, batch_size=32)
    together = fit(head, CLASSES, x, Y, every, training)
    single = fit(head, CLASSES, x, Y, alone(every, 2), training)
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(single), strict=True):
        np.testing.assert_allclose(a[..., 2], b[..., 0], atol=2e-5)
    score, _ = scores(head, CLASSES, together, x, Y, 33)
    assert score[2] == pytest.approx(np.mean(outputs(head, single, x, 17).argmax(-1) == Y), abs=1e-6)


def test_sgd_is_pytorchs_by_hand():
    """Momentum 0.9, decay in the gradient, rate times batch / 256, warm-up, a cosine to 0, batches by seed and epoch."""
    training = Training(sgd, epochs=3, batch_size=32, warmup_epochs=1, seed=5)
    found = fit(Linear(6, 3), CLASSES, X, Y, grid((2.0,), (0.01,)), training)
    start = Linear(6, 3).init(jax.random.key(5))
    w = np.concatenate([start["kernel"], start["bias"][None]]).astype(np.float64)
    x = np.concatenate([X, np.ones((70, 1))], 1)
    moment, schedule = 0, [0, 0.5, 1, 0.5 + 0.5 * np.cos(np.pi / 4), 0.5, 0.5 + 0.5 * np.cos(3 * np.pi / 4)]
    for step in range(6):
        order = np.random.default_rng((5, step // 2)).permutation(70)
        rows = order[32 * (step % 2) : 32 * (step % 2) + 32]
        e = np.exp(x[rows] @ w)
        gradient = x[rows].T @ (e / e.sum(1, keepdims=True) - np.eye(3)[Y[rows]]) / 32 + 0.01 * w
        moment = 0.9 * moment + gradient
        w = w - 2.0 * 32 / 256 * schedule[step] * moment
    np.testing.assert_allclose(found["kernel"][..., 0], w[:-1], atol=1e-5)
    np.testing.assert_allclose(found["bias"][..., 0], w[-1], atol=1e-5)


def test_the_first_step_of_lars_is_a_thousandth_of_the_weights_whatever_the_gradient():
    params = {"kernel": np.stack([np.ones((2, 3)), 2 * np.ones((2, 3))], -1), "bias": np.zeros((3, 2))}
    gradient = {"kernel": 50 * np.ones((2, 3, 2)), "bias": 7 * np.ones((3, 2))}
    rule = lars(np.ones(2), np.zeros(2))
    updates, _ = rule.update(gradient, rule.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -1e-3 * params["kernel"], rtol=1e-6)
    np.testing.assert_allclose(updates["bias"], -gradient["bias"])


def test_lanes_that_diverge_leave_the_others_alone():
    every = grid((0.1, np.inf), (0.0,))
    params = fit(Linear(6, 3), CLASSES, X, Y, every, Training(sgd, epochs=2, batch_size=32))
    score, loss = scores(Linear(6, 3), CLASSES, params, X, Y)
    assert np.isfinite(loss).tolist() == [True, False]
    assert score[0] == scores(Linear(6, 3), CLASSES, {k: p[..., :1] for k, p in params.items()}, X, Y)[0][0]


def test_losses_are_those_of_optax_for_every_lane():
    out = rng.standard_normal((5, 3, 2)).astype(np.float32)
    labels, marks = rng.integers(0, 3, 5), rng.integers(0, 2, (5, 3)).astype(np.float32)
    for lane in range(2):
        own = out[..., lane]
        np.testing.assert_allclose(
            CLASSES.loss(out, labels)[:, lane],
            optax.softmax_cross_entropy_with_integer_labels(own, labels),
            rtol=1e-5,
        )
        wanted = optax.sigmoid_binary_cross_entropy(own, marks).mean(1)
        np.testing.assert_allclose(LABELS.loss(out, marks)[:, lane], wanted, rtol=1e-5)
        np.testing.assert_allclose(NUMBERS.score(out, marks)[:, lane], -np.square(own - marks).mean(1), rtol=1e-5)
        np.testing.assert_array_equal(CLASSES.score(out, labels)[:, lane], own.argmax(1) == labels)


def test_attention_from_one_query_is_cross_attention_with_all_its_matrices():
    """Keys, values and query as V-JEPA makes them, for one lane; the product of query and key matrix is what is learnt here."""
    b, t, d, h = 2, 5, 8, 2
    query, wq, wk, wv = (rng.standard_normal(s) for s in ((d,), (d, d), (d, d), (d, d)))
    x = rng.standard_normal((b, t, d))
    n = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    split = lambda a: a.reshape(*a.shape[:-1], h, d // h)  # noqa: E731
    q, k, v = split(query @ wq), split(n @ wk), split(n @ wv)
    weights = np.exp(np.einsum("he,bthe->bth", q, k) / np.sqrt(d // h))
    wanted = query + np.einsum("bth,bthe->bhe", weights / weights.sum(1, keepdims=True), v).reshape(b, d)

    head = Attentive(d, h, d)
    params = head.init(jax.random.key(0)) | {
        "query": query,
        "attend": np.einsum("dhe,he->dh", split(wk), q) / np.sqrt(d // h),
        "value": {"kernel": split(wv), "bias": np.zeros(d)},
        "out": {"kernel": np.eye(d), "bias": np.zeros(d)},
    }
    params["down"]["kernel"] = np.zeros((4 * d, d))  # the block after the attention adds nothing
    found = jax.jit(head.apply)(
        jax.tree.map(lambda a: np.asarray(a, np.float32)[..., None], params), x.astype(np.float32)
    )
    np.testing.assert_allclose(found[..., 0], wanted, atol=1e-4)


def test_rows_are_joined_taken_and_normalised_as_whole_arrays_are():
    both = Some(Beside((X, 3 * X[:, :2] + 1)), np.arange(10, 60))
    whole = np.concatenate([X, 3 * X[:, :2] + 1], 1)[10:60]
    np.testing.assert_array_equal(both[np.array([3, 0])], whole[[3, 0]])
    np.testing.assert_allclose(moments(both), (whole.mean(0), whole.std(0)), rtol=1e-6)
    norms = {name: make(both) for name, make in NORMS.items()}
    np.testing.assert_allclose(norms["batch"].used(whole), (whole - whole.mean(0)) / whole.std(0), atol=1e-5)
    batch = norms["batch"].learning(whole[:7])
    np.testing.assert_allclose(batch.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(batch.std(0), 1, atol=1e-4)
    np.testing.assert_array_equal(norms["none"].learning(whole), whole)
    np.testing.assert_allclose(Prepared(both, norms["train"].used)[np.arange(50)].std(0), 1, atol=1e-5)


def test_as_many_lanes_at_once_as_memory_is_for(monkeypatch):
    head = heads.Linear(6, 3)
    monkeypatch.setattr(lanes, "_FLOATS", 10 * (4 * 21 + 3 * 32 * 3))
    assert lanes_at_once(head, X, 32) == 10
    monkeypatch.setattr(lanes, "_FLOATS", 1)
    assert lanes_at_once(head, X, 32) == 1
