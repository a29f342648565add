"""Transcripts: padding frames change no sum, the best path, and error rates with known answers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssl_jax.data.sources.transcripts import LETTERS, symbols_of
from ssl_jax.losses.tasks import TASKS
from ssl_jax.losses.transcription import best_path, ctc, edit_distance, error_rates
from ssl_jax.models.heads import SymbolHead

RNG = np.random.default_rng(0)


def row(text, length=24):
    found = symbols_of(text, LETTERS)
    return found + [0] * (length - len(found))


def test_frames_beyond_the_end_leave_the_loss_and_its_gradient_alone():
    states, length = RNG.normal(size=(2, 9, 4)).astype(np.float32), np.array([9, 4])
    valid, symbols = np.arange(9) < length[:, None], np.array([[3, 3, 2], [2, 1, 0]])
    head = SymbolHead(5)
    params = head.init(jax.random.key(0), states, valid)

    def ours(states, symbols):
        found = ctc(head.apply(params, states, valid), symbols)
        return found.total, found.weight

    def theirs(states):
        logits = states @ params["params"]["dense_out"]["kernel"] + params["params"]["dense_out"]["bias"]
        return optax.ctc_loss(logits, 1.0 - valid, symbols, 1.0 * (symbols == 0)).sum()

    graded = jax.jit(jax.value_and_grad(ours, has_aux=True))
    (value, weight), gradient = graded(states, symbols)
    expected, slope = jax.jit(jax.value_and_grad(theirs))(states)
    assert weight == 5
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, slope, atol=1e-5)
    (_, weight), gradient = graded(states, np.array([[3, 2, 0], [2, 2, 2]]))  # three times the same need 5 frames
    assert weight == 2
    assert not gradient[1].any()


def test_the_best_path_merges_repetitions_that_no_blank_parts():
    path = np.array([[2, 2, 0, 2, 3, 3, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0]])
    assert best_path(jax.nn.one_hot(path, 4)).tolist() == [[2, 2, 3, 0, 0, 0, 0, 0], [0] * 8]


@pytest.mark.parametrize(
    ("text", "reference", "edits", "words"),
    [
        ("kitten", "sitting", 3, 1),
        ("the cat sat", "the cat sat", 0, 0),
        ("cat sat", "the cat sat", 4, 1),
        ("the bat sat on it", "the cat sat", 7, 3),
        ("", "go on", 5, 2),
        ("on go", "go on", 4, 2),
    ],
)
def test_errors_are_counted_as_by_hand(text, reference, edits, words):
    rows, frames = np.array([row(reference), row("a b")]), np.zeros((2, 48), int)
    frames[0, ::2], frames[1, :6:2] = row(text), symbols_of("a b", LETTERS)  # blanks part what is repeated
    found = _rates(jax.nn.one_hot(frames, 29), rows)
    assert (found["cer"].total, found["cer"].weight) == (edits, len(reference) + 3)
    assert (found["wer"].total, found["wer"].weight) == (words, len(reference.split()) + 2)


_rates = jax.jit(error_rates)


def test_distances_are_those_of_the_plain_recursion():
    texts, references = (
        np.where(np.arange(7) < RNG.integers(0, 8, (40, 1)), RNG.integers(1, 4, (40, 7)), 0) for _ in "ab"
    )

    def plain(a, b):
        if not a or not b:
            return len(a) + len(b)
        return min(plain(a[1:], b) + 1, plain(a, b[1:]) + 1, plain(a[1:], b[1:]) + (a[0] != b[0]))

    expected = [plain([*a[a > 0]], [*b[b > 0]]) for a, b in zip(texts[:12], references[:12], strict=True)]
    assert jax.jit(edit_distance)(texts, references)[:12].tolist() == expected
    assert set(TASKS["text"].measures(jnp.zeros((2, 5, 4)), jnp.ones((2, 3), int))) == {"cer", "wer"}
