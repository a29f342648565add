"""Sentence embeddings: gradients that no cache, mesh or microbatch changes, views that are what they say, and refusals."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.sources.wordnet import Definitions
from ssl_jax.data.text.augmented import AugmentedText
from ssl_jax.data.text.pairs import PairViews
from ssl_jax.data.text.views import TextViews
from ssl_jax.devices.mesh import batch_sharding, make_mesh, place_batch
from ssl_jax.errors import UserError
from ssl_jax.evaluate import suite
from ssl_jax.models.text import TextTransformer
from ssl_jax.objectives.base import State
from ssl_jax.objectives.biencoder import BiEncoder, halves, whole
from ssl_jax.objectives.byol import BYOL
from ssl_jax.objectives.simclr import SimCLR
from ssl_jax.objectives.simcse import SimCSE
from ssl_jax.objectives.vicreg import VICReg
from ssl_jax.recipe.fragments.text import TERM_TO_GLOSS
from ssl_jax.training.step import Setup, TrainState, init_state, value_and_gradient

V, T, ROWS = 40, 12, 16
WORDS = {"size": V, "pad": 0, "mask": 1, "start": 2, "end": 3}
PAIRS = PairViews(WORDS, passages=("passage", "negative"))


def model(**options):
    return TextTransformer(V, 8, 1, 2, 16, T, **{"remat": "none", "dropout": 0.2, "attention_dropout": 0.2} | options)


def texts(seed, length):
    rng = np.random.default_rng(seed)
    ends = rng.integers(4, length, (ROWS, 1))
    place = np.arange(length)
    inner = np.where(place < ends, rng.integers(4, V, (ROWS, length)), np.where(place == ends, 3, 0))
    return np.where(place == 0, 2, inner).astype(np.int32)


RECORDS = {"query": texts(0, 6), "passage": texts(1, T), "negative": texts(2, T), "tokens": texts(3, T)}
RECORDS |= {"synset": np.arange(ROWS, dtype=np.int32) // 2 + 2**24}
BATCH = RECORDS | {"_id": np.arange(ROWS, dtype=np.int32), "_epoch": np.zeros(ROWS, np.int32)}
DOUBLE = {"dtype": "float64"}
OBJECTIVES = {
    "supervised simcse": SimCSE(model(**DOUBLE), PAIRS, hard_weight=1.0),
    "biencoder": BiEncoder(model(**DOUBLE), PAIRS, symmetric=True, same="synset", dims=(4, 8)),
}


def state_of(setup, batch):
    state = jax.jit(partial(init_state, setup))(batch)
    wide = lambda x: x.astype("float64") if x.dtype == jnp.float32 else x  # noqa: E731
    return jax.tree.map(wide, TrainState(*state[:3], state.params, state.extra, ()))


def by_hand(setup, state, batch):
    """The gradient of the loss of all rows at once, where each microbatch of strided rows draws its own dropout masks."""
    objective, parts = setup.objective, setup.gradient_cache

    rows = {name: jnp.stack([x[part::parts] for part in range(parts)]) for name, x in batch.items()}

    def total(params):
        def embedded(one):
            views, key = setup.views(state, one[1])
            return objective.embed(params, {}, views, jax.random.fold_in(key, one[0]))[0]

        found = jax.lax.map(embedded, (jnp.arange(parts), rows))
        joined = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(ROWS, *x.shape[2:]), found)
        return objective.score(params, {}, joined, setup.progress(state)).total()

    return jax.value_and_grad(total)(state.params)


@pytest.mark.parametrize("name", ["biencoder", pytest.param("supervised simcse", marks=pytest.mark.slow)])
def test_a_cached_gradient_on_eight_devices_is_that_of_all_rows_at_once_on_one(name):
    import optax

    setup = Setup(OBJECTIVES[name], optax.sgd(0.1), seed=3, total_steps=10, gradient_cache=2)
    with jax.enable_x64(True):
        state = state_of(setup, BATCH)
        value, gradient = jax.jit(partial(by_hand, setup))(state, BATCH)
        with jax.set_mesh(make_mesh()):
            placed = place_batch(BATCH, batch_sharding(make_mesh()))
            out, cached = jax.jit(partial(value_and_gradient, setup))(state, placed)
    np.testing.assert_allclose(out.total(), value, rtol=1e-10)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10), cached, gradient)
    assert max(float(np.abs(g).max()) for g in jax.tree.leaves(gradient)) > 1e-4
    assert all(np.isfinite(term.value) for term in out.losses.values())


def test_numbers_that_float32_would_take_for_one_another_stay_apart():
    number = jnp.array([2**24, 2**24 + 1, 0, 2**31 - 1])
    assert (whole(halves(number)) == number).all()
    assert halves(number).dtype == jnp.float32


def test_a_pair_is_shown_and_counted_as_all_its_texts():
    views = PAIRS(jax.random.split(jax.random.key(0), ROWS), RECORDS)
    assert views["tokens"].shape == (ROWS, 1, 6)
    assert views["passage/tokens"].shape == (ROWS, 2, T)
    np.testing.assert_array_equal(views["passage/tokens"][:, 1], RECORDS["negative"])
    np.testing.assert_array_equal(PAIRS.evaluation(RECORDS, "passage")["tokens"], RECORDS["passage"])
    real = sum(int((RECORDS[name] > 0).sum()) for name in ("query", "passage", "negative"))
    assert PAIRS.units(RECORDS) == {"tokens": real}
    assert {name: panel.rows and len(panel.rows[0]) for name, panel in PAIRS.panel(views).items()} == {
        "query": 1, "passage": 2,
    }  # fmt: skip


def test_the_raw_row_of_texts_is_scikit_learns_tf_idf():
    from sklearn.feature_extraction.text import TfidfTransformer

    bags = np.asarray(PAIRS.plain(RECORDS, policy="passage"))
    real = np.where(RECORDS["passage"] > 3, RECORDS["passage"], V)
    counts = (real[..., None] == np.arange(V)).sum(axis=1)
    expected = TfidfTransformer().fit(counts[:10]).transform(counts).toarray()
    np.testing.assert_allclose(PAIRS.fitted(bags[:10])(bags), expected, rtol=1e-5, atol=1e-7)


def test_terms_and_glosses_are_ranked_with_tf_idf_beside():
    objective = BiEncoder(TextTransformer(4096, 8, 1, 2, 16, 64, remat="none"), PairViews(tokenizer="wordnet"))
    source = Definitions("test", limit=60)
    params = jax.jit(objective.init)(jax.random.key(0), objective.augment(None, source.batch(np.arange(2)))).params
    encoders = {n: (e, e.variables(State(params, {}))) for n, e in objective.encoders().items()}
    settings = suite.Settings(probes=(TERM_TO_GLOSS,), baselines=("raw",), batch_size=60)
    rows = suite.evaluate(encoders, source, source, settings, chosen=("passage",))["rows"]
    words = rows["raw input (query, passage)"]["pairs"]
    assert words["candidates"] == words["query_to_passage_queries"] == 60
    assert 0.2 < words["query_to_passage_mrr"] < words["query_to_passage_recall_10"] < 1
    assert set(rows["pretrained (query, passage)"]["pairs"]) == set(words)


VIEWS = {
    "crop": {"crop": (0.5, 0.5)},
    "drop": {"drop": 0.5},
    "hide": {"hide": 0.25},
}


def test_views_of_texts_are_parts_of_them_between_the_same_signs():
    keys, source = jax.random.split(jax.random.key(0), ROWS), RECORDS["tokens"]
    made = jax.jit(lambda k, r: {n: AugmentedText(WORDS, **o)(k, r) for n, o in VIEWS.items()})(
        keys, {"tokens": source}
    )
    for name, view in made.items():
        tokens, segments = np.asarray(view["tokens"]), np.asarray(view["segments"])
        assert tokens.shape == (ROWS, 2, T)
        assert (tokens[:, 0] != tokens[:, 1]).any(), name
        for row, text in zip(range(ROWS), source, strict=True):
            inner = text[(text > 3)]
            for seen, real in zip(tokens[row], segments[row], strict=True):
                here = seen[real > 0]
                assert here[0] == 2, name
                assert here[-1] == 3, name
                assert (seen[real == 0] == 0).all(), name
                assert _is_part(here[1:-1], inner, name)


def _is_part(seen, inner, name):
    if name == "crop":
        return len(seen) == max(1, round(len(inner) / 2)) and any(
            (seen == inner[i : i + len(seen)]).all() for i in range(len(inner) - len(seen) + 1)
        )
    if name == "hide":
        kept = seen != 1
        return len(seen) == len(inner) and (seen[kept] == inner[kept]).all() and (~kept).sum() <= T // 4
    left = iter(inner.tolist())
    return len(seen) >= 1 and all(token in left for token in seen.tolist())


def test_views_of_what_is_packed_are_refused():
    with pytest.raises(UserError, match="one text in each record"):
        AugmentedText(WORDS)(None, RECORDS | {"segments": RECORDS["tokens"]})


@pytest.mark.slow
def test_methods_of_views_learn_from_text():
    views = AugmentedText(WORDS, crop=(0.5, 1.0), drop=0.1, hide=0.15)
    encoder = model(dropout=0.0, attention_dropout=0.0)
    objectives = {
        "simclr": SimCLR(encoder, views, hidden=(8,), out=8, head_norm="none"),
        "byol": BYOL(encoder, views, hidden=8, out=8),
        "vicreg": VICReg(encoder, views, hidden=(8,), out=8),
    }
    import optax

    def norms(batch):
        found = {}
        for name, objective in objectives.items():
            setup = Setup(objective, optax.sgd(0.1), seed=0, total_steps=2)
            _, gradient = value_and_gradient(setup, init_state(setup, batch), batch)
            found[name] = optax.global_norm(gradient["encoder"])
        return found

    batch = {name: BATCH[name] for name in ("tokens", "_id", "_epoch")}
    assert all(np.isfinite(norm) and norm > 0 for norm in jax.jit(norms)(batch).values())


REFUSALS = {
    "records have no field 'negative'; they have passage, query": lambda: PAIRS(
        None, {name: RECORDS[name] for name in ("query", "passage")}
    ),
    "by dropout alone": lambda: SimCSE(model(dropout=0.0), TextViews(WORDS, count=2)),
    "models query and passage, or one": lambda: BiEncoder({"query": model(), "text": model()}, PAIRS),
    "the embeddings have 8 numbers": lambda: BiEncoder(model(), PAIRS, dims=(4, 9)),
    "temperature=0": lambda: replace(OBJECTIVES["biencoder"], temperature=0.0),
    "augment.crop=(0.5, 0.2)": lambda: AugmentedText(WORDS, crop=(0.5, 0.2)),
    "augment.drop=1.0": lambda: AugmentedText(WORDS, drop=1.0),
    "augment.hide needs the token 'mask'": lambda: AugmentedText({"size": V, "pad": 0}, hide=0.1),
}


@pytest.mark.parametrize("told", REFUSALS)
def test_what_cannot_work_is_refused_with_its_reason(told):
    with pytest.raises(UserError) as refused:
        REFUSALS[told]()
    assert told in str(refused.value)
