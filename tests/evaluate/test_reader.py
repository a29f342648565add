"""Features are made once: what was kept is found, what is damaged or of anything else is made again."""

import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.evaluate.cache import Cache
from ssl_jax.evaluate.intervals import interval, interval_of_mean
from ssl_jax.evaluate.reader import Reader, Weights
from ssl_jax.evaluate.readings import OWN, Reading, reading_named

LIMIT = 2**20


@pytest.fixture
def made(encoder, variables):
    """Weights that note when they are made."""
    made = []

    def make():
        made.append(1)
        return encoder, variables

    make.times = made
    return make


def same(a, b):
    return all(
        np.array_equal(x, y) for x, y in zip((a.x, a.y, a.ids, a.target), (b.x, b.y, b.ids, b.target), strict=True)
    )


def test_what_was_kept_is_found_and_what_differs_is_made_again(made, make_signals, tmp_path):
    train = make_signals(30, 0)
    reader = Reader(cache=Cache(tmp_path, LIMIT), fields=("signal",))
    first = reader.features({"x": Weights(made, {"checkpoint": "a"})}, train)["x", OWN]
    again = reader.features({"x": Weights(made, {"checkpoint": "a"})}, train)["x", OWN]
    assert len(made.times) == 1
    assert same(first, again)
    np.testing.assert_array_equal(again.fields["signal"], train.columns["signal"])
    for weights, source in (({"checkpoint": "b"}, train), ({"checkpoint": "a"}, make_signals(30, 1)), (None, train)):
        before = len(made.times)
        reader.features({"x": Weights(made, weights)}, source)
        assert len(made.times) == before + 1


def test_a_damaged_entry_is_made_again(made, make_signals, tmp_path):
    reader, weights = Reader(cache=Cache(tmp_path, LIMIT)), {"x": Weights(made, {"checkpoint": "a"})}
    first = reader.features(weights, make_signals(30, 0))["x", OWN]
    expected = np.array(first.x)
    (path,) = tmp_path.glob("*/x.npy")
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    again = reader.features(weights, make_signals(30, 0))["x", OWN]
    assert len(made.times) == 2
    np.testing.assert_array_equal(again.x, expected)


def test_the_entries_that_were_not_used_for_longest_go_first(made, make_signals, tmp_path):
    size = 30 * 24 * 4
    cache = Cache(tmp_path, 3 * size)
    for name in "abcd":
        Reader(cache=cache).features({"x": Weights(made, {"checkpoint": name})}, make_signals(30, 0))
    assert sum(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file()) <= 3 * size + 4096
    before = len(made.times)
    Reader(cache=cache).features({"x": Weights(made, {"checkpoint": "d"})}, make_signals(30, 0))
    assert len(made.times) == before
    assert cache.clear() > 0
    assert not tmp_path.exists()


def test_a_reading_that_an_encoder_cannot_give_is_left_out_and_not_sought_again(made, make_signals, tmp_path):
    reader = Reader(cache=Cache(tmp_path, LIMIT), readings=(Reading("class"),))
    for _ in range(2):
        assert list(reader.features({"x": Weights(made, {"checkpoint": "a"})}, make_signals(30, 0))) == [("x", OWN)]
    assert len(made.times) == 1


@pytest.mark.parametrize("text", ["own", "class", "mean@-4", "tokens"])
def test_readings_are_written_as_they_are_read(text):
    assert str(reading_named(text)) == text


@pytest.mark.parametrize("text", ["median", "mean@2", "own@-2", "mean@", ""])
def test_what_is_no_reading_is_refused(text):
    with pytest.raises(UserError, match="reading"):
        reading_named(text)


def test_intervals_cover_what_they_are_of():
    values = np.repeat([0.0, 1.0], [40, 60])
    low, high = interval_of_mean(values)
    normal = 1.96 * np.sqrt(0.6 * 0.4 / 100)
    np.testing.assert_allclose([low, high], [0.6 - normal, 0.6 + normal], atol=0.02)
    np.testing.assert_allclose(interval_of_mean(values + 1e-9), [low, high], atol=0.011)  # as a weighted sum
    np.testing.assert_allclose(interval(lambda rows: values[rows].mean(), 100), [low, high], atol=0.021)
