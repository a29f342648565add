"""What is hidden of a text: exact counts, whole words, spans apart from each other; and texts that can be put together again."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.masks.corruption import bart_corrupted, poisson_table, t5_corrupted, t5_counts, t5_room
from ssl_jax.data.masks.words import budget, hidden_spans, hidden_tokens, hidden_words

ROWS, T, V, END, MASK = 400, 48, 1000, 3, 1
SENTINEL = 900  # ids from here on stand for spans
rng = np.random.default_rng(0)
LENGTHS = rng.integers(4, T + 1, ROWS)
REAL = np.arange(T) < LENGTHS[:, None]
CANDIDATES = REAL & (np.arange(T) > 0) & (np.arange(T) < LENGTHS[:, None] - 1)  # a sign at either end
STARTS = (rng.uniform(size=(ROWS, T)) < 0.7) | (np.arange(T) == 1)
TOKENS = np.where(REAL, np.argsort(rng.uniform(size=(ROWS, 890)))[:, :T] + 10, 0)  # none twice in a row
KEYS = jax.random.split(jax.random.key(0), ROWS)
COUNT = budget(jnp.asarray(LENGTHS), 0.15, 7)


def rows(function, *arrays):
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(function))(KEYS, *map(jnp.asarray, arrays)))


def test_the_budget_is_of_the_whole_length_rounded():
    assert budget(jnp.array([3, 10, 11, 48, 100]), 0.15, 7).tolist() == [1, 2, 2, 7, 7]


def test_single_tokens_are_hidden_in_exact_number_and_all_as_likely():
    found = rows(lambda k, c, n: hidden_tokens(k, c, n, 7), CANDIDATES, COUNT)
    expected = np.minimum(COUNT, CANDIDATES.sum(1))
    assert np.array_equal(found.chosen.sum(1), expected)
    assert all(
        CANDIDATES[i, p[c]].all() and len(set(p)) == 7
        for i, (p, c) in enumerate(zip(found.places, found.chosen, strict=True))
    )
    keys = jax.random.split(jax.random.key(1), 4000)
    many = jax.vmap(lambda k: hidden_tokens(k, jnp.ones(8, bool), jnp.int32(2), 2).places)(keys)
    np.testing.assert_allclose(np.bincount(np.asarray(many).ravel(), minlength=8) / 4000, 0.25, atol=0.03)


def words_of(row):
    """The number of the word of each candidate."""
    return np.cumsum(STARTS[row] & CANDIDATES[row]) * CANDIDATES[row]


def test_words_are_hidden_whole_and_fill_the_budget_as_far_as_they_fit():
    found = rows(lambda k, c, s, n: hidden_words(k, c, s, n, 7), CANDIDATES, STARTS, COUNT)
    for i in range(ROWS):
        word, hidden = words_of(i), found.places[i][found.chosen[i]]
        assert len(hidden) <= COUNT[i]
        assert set(np.flatnonzero(np.isin(word, word[hidden]) & CANDIDATES[i])) == set(hidden)
        rest = np.setdiff1d(word[word > 0], word[hidden])
        assert not len(rest) or len(hidden) + min((word == w).sum() for w in rest) > COUNT[i]


def test_spans_are_runs_of_words_with_a_neighbour_on_either_side():
    found = rows(lambda k, c, s, n: hidden_spans(k, c, s, n, 7), CANDIDATES, STARTS, COUNT)
    assert found.chosen.sum() > 0.9 * COUNT.sum()
    for i in range(ROWS):
        hidden = set(found.places[i][found.chosen[i]].tolist())
        assert len(hidden) <= COUNT[i]
        for place, left, right in zip(
            *(x[i][found.chosen[i]].tolist() for x in (found.places, found.left, found.right)), strict=True
        ):
            assert left < place < right
            assert set(range(left + 1, right)) <= hidden
            assert not {left, right} & hidden


def test_span_corruption_has_the_published_counts_and_can_be_undone():
    assert t5_counts(568)[2:] == (512, 114)
    assert t5_room(568) == (512, 114)
    made = rows(lambda k, t, n: t5_corrupted(k, t, n, V - 1, END), TOKENS, LENGTHS)
    for i in range(ROWS):
        source, target = (
            x[i, : n[i]].tolist() for x, n in ((made.source, made.source_length), (made.target, made.target_length))
        )
        counts = t5_counts(int(LENGTHS[i]))
        assert (len(source), len(target)) == (counts.source, counts.target)
        assert source[-1] == target[-1] == END
        assert source[0] < SENTINEL <= target[0]
        spans: dict[int, list[int]] = {}
        for token in target[:-1]:
            spans |= {token: []} if token >= SENTINEL else {}
            spans[list(spans)[-1]] += [token] if token < SENTINEL else []
        assert list(spans) == [V - 1 - k for k in range(counts.spans)]
        assert all(spans.values())
        whole = [t for token in source[:-1] for t in (spans[token] if token >= SENTINEL else [token])]
        assert whole == TOKENS[i, : LENGTHS[i]].tolist()


def test_infilling_keeps_the_ends_and_moves_whole_sentences():
    stops = rng.uniform(size=(ROWS, T)) < 0.15
    given = (TOKENS, LENGTHS, STARTS, stops)
    moved = rows(lambda k, t, n, s, e: bart_corrupted(k, t, n, s, e, MASK, V, 0.0, random=0.0), *given)
    made = rows(lambda k, t, n, s, e: bart_corrupted(k, t, n, s, e, MASK, V, 0.3, random=0.0), *given)
    assert np.array_equal(made.target, TOKENS)
    for i, n in enumerate(LENGTHS):
        text, source = TOKENS[i, :n], made.source[i, : made.source_length[i]]
        assert (source[0], source[-1]) == (text[0], text[-1])
        assert sorted(moved.source[i]) == sorted(TOKENS[i])
        place = np.argsort(moved.source[i, :n])[np.argsort(np.argsort(text))]
        ends = [0, *np.flatnonzero(stops[i, 1 : n - 1]) + 1]
        for first, last in pairwise(ends):  # what stands between two ends is a sentence
            assert np.array_equal(np.diff(place[first + 1 : last + 1]), np.ones(last - first - 1))
    assert 0.6 < (made.source >= 10).sum() / REAL.sum() < 0.8  # 30 % of the words go, but for the ends
    assert (made.source == MASK).sum() > 0.05 * REAL.sum()


def test_span_lengths_are_those_of_poisson_3():
    table = poisson_table()
    assert table.sum() == pytest.approx(1)
    assert (np.arange(len(table)) * table).sum() == pytest.approx(3, abs=1e-4)
