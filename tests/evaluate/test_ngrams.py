"""n-gram baselines: probabilities add up to one, and known answers."""

import numpy as np
import pytest

from ssl_jax.evaluate.ngrams import fitted, nats

TEXTS = [np.array(t) for t in ([0, 1, 2, 1], [0, 1, 1, 3], [0, 2])]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_chances_of_all_words_behind_a_history_add_up_to_one(order):
    model = fitted(TEXTS, order, vocabulary=5)
    for history in ([0], [0, 1], [4, 4], [1, 2]):
        # A text that ends with each word in turn: what the last word adds is its chance.
        before = nats(model, [np.array(history)], 0.7) * (len(history) - 1) if len(history) > 1 else 0.0
        chances = [np.exp(-(nats(model, [np.array([*history, w])], 0.7) * len(history) - before)) for w in range(5)]
        assert sum(chances) == pytest.approx(1)


def test_known_answers():
    # Words that are predicted: 1 2 1, 1 1 3, 2; of seven, 1 four times, 2 twice and 3 once.
    model = fitted(TEXTS, 1, vocabulary=5)
    kept = (4 - 0.5 + 0.5 * 3 / 5) / 7
    assert nats(model, [np.array([0, 1])], 0.5) == pytest.approx(-np.log(kept))
    # Behind 0 stood 1 twice and 2 once.
    two = fitted(TEXTS, 2, vocabulary=5)
    assert nats(two, [np.array([0, 1])], 0.5) == pytest.approx(-np.log((2 - 0.5 + 0.5 * 2 * kept) / 3))


def test_longer_histories_help_where_words_follow_each_other():
    chain = [np.arange(40) % 7 for _ in range(3)]
    one, two = (nats(fitted(chain, order, 7), chain, 0.5) for order in (1, 2))
    assert two < 0.2 < 1.8 < one
