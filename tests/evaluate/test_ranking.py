"""Retrieval against pytrec_eval and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score

from ssl_jax.errors import UserError
from ssl_jax.evaluate import ranking
from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.probes import pairs, retrieval
from ssl_jax.evaluate.ranking import Side, measured, rankings

rng = np.random.default_rng(0)
X = rng.standard_normal((40, 6)).astype(np.float32)
Y = rng.integers(0, 4, 40)
IDS = np.arange(40)
UNIT = X / np.linalg.norm(X, axis=1, keepdims=True)
COSINE = np.where(np.eye(40, dtype=bool), -np.inf, UNIT @ UNIT.T)


def test_all_measures_equal_pytrec_eval():
    pytrec_eval = pytest.importorskip("pytrec_eval")
    others = lambda i: [j for j in range(40) if j != i]  # noqa: E731
    relevant = {f"q{i}": {f"d{j}": int(Y[i] == Y[j]) for j in others(i)} for i in range(40)}
    run = {f"q{i}": {f"d{j}": float(COSINE[i, j]) for j in others(i)} for i in range(40)}
    names = {"map": "map", "mrr": "recip_rank", "ndcg_5": "ndcg_cut_5", "ndcg_10": "ndcg_cut_10",
             "recall_1": "success_1", "recall_5": "success_5", "recall_10": "success_10"}  # fmt: skip
    told = pytrec_eval.RelevanceEvaluator(relevant, {"map", "recip_rank", "ndcg_cut.5,10", "success.1,5,10"}).evaluate(
        run
    )
    side = Side(X, Y, IDS)
    found = measured(rankings(side, side), (1, 5, 10))
    for ours, theirs in names.items():
        assert found[ours] == pytest.approx(np.mean([q[theirs] for q in told.values()]), abs=1e-9), ours
    assert found["queries"] == 40


def test_precision_and_gain_equal_sklearn():
    order = np.argsort(-COSINE, axis=1)[:, :-1]
    hits = Y[order] == Y[:, None]
    scores = np.take_along_axis(COSINE, order, 1)
    ap = [average_precision_score(h, s) for h, s in zip(hits, scores, strict=True)]
    np.testing.assert_allclose(ranking.average_precision(hits), ap, atol=1e-12)
    assert ranking.ndcg(hits, 7).mean() == pytest.approx(ndcg_score(hits, scores, k=7), abs=1e-12)


def test_blocks_of_queries_change_nothing(monkeypatch):
    side = Side(X, Y, IDS)
    whole = measured(rankings(side, side), (1,))
    monkeypatch.setattr(ranking, "_SCORES", 40 * 7)
    assert measured(rankings(side, side), (1,)) == whole


def test_a_query_is_no_candidate_and_candidates_are_counted():
    x = np.repeat(np.eye(4, 6, dtype=np.float32), 2, axis=0)  # each record twice: the twin is another record
    y = np.arange(8)  # and of another class
    train = Features(x, np.arange(8, dtype=np.int32) % 8, IDS[:8])
    split = Split(train, Features(x, (y // 2).astype(np.int32), IDS[:8]), 8)
    found = retrieval.Probe().run(split)
    assert (found["recall_1"], found["map"], found["candidates"], found["queries"]) == (1.0, 1.0, 7, 8)
    alone = Split(train, Features(x, y.astype(np.int32), IDS[:8]), 8)
    with pytest.raises(UserError, match="no query has a relevant candidate"):
        retrieval.Probe().run(alone)
    among_train = retrieval.Probe(candidates="train").run(alone)
    assert (among_train["candidates"], among_train["queries"], among_train["mrr"]) == (8, 8, pytest.approx(0.75))


def test_pairs_find_their_counterpart_both_ways():
    towers = {
        name: Split(Features(z, None, IDS), Features(z, None, IDS), 0) for name, z in (("image", X), ("text", 2 * X))
    }
    split = Split(towers["image"].train, towers["image"].test, 0, towers=towers)
    found = pairs.Probe(ks=(1,)).run(split)
    assert found["image_to_text_recall_1"] == found["text_to_image_recall_1"] == 1.0
    shifted = towers | {"text": Split(Features(X, None, IDS), Features(np.roll(X, 1, 0), None, IDS), 0)}
    assert pairs.Probe(ks=(1,)).run(Split(split.train, split.test, 0, towers=shifted))["image_to_text_recall_1"] == 0.0
    assert found["image_to_text_chance"] == 1 / 40
    halves = {"of": np.arange(40) // 30, "group": np.arange(40) % 2}  # 30 records and 10 that are the same
    named = {k: Split(s.train, s.test._replace(fields=halves), 0) for k, s in shifted.items()}
    found = pairs.Probe(same="of", group="group").run(Split(split.train, split.test, 0, towers=named))
    assert (
        found["image_to_text_chance"] == found["groups"]["1"]["text_to_image"]["chance"] == (30 * 30 + 10 * 10) / 1600
    )
    named = {k: Split(s.train, s.test._replace(fields={"of": np.zeros(40)}), 0) for k, s in shifted.items()}
    assert (
        pairs.Probe(ks=(1,), same="of").run(Split(split.train, split.test, 0, towers=named))["text_to_image_mrr"] == 1
    )
    narrow = towers | {"text": Split(split.train, Features(X[:, :3], None, IDS), 0)}
    with pytest.raises(UserError, match="which no cosine compares"):
        pairs.Probe().run(Split(split.train, split.test, 0, towers=narrow))
