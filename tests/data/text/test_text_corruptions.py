import pytest

from ssl_jax.data.text.corruptions import typos
from ssl_jax.errors import UserError

TEXT = "The quick brown fox jumps over the lazy dog, 24 times; it was Schön. " * 20


def test_typing_errors_are_as_many_as_the_severity_says_and_always_the_same():
    words = TEXT.split()
    kept = [
        sum(a == b for a, b in zip(words, typos(TEXT, s, 0).split(), strict=True)) / len(words) for s in range(1, 6)
    ]
    assert kept == sorted(kept, reverse=True)
    assert 0.85 < kept[0] < 0.97  # of words with four letters on average
    assert 0.3 < kept[-1] < 0.6
    assert typos(TEXT, 3, 1) == typos(TEXT, 3, 1) != typos(TEXT, 3, 2)


def test_what_is_no_letter_stays():
    assert typos("12, 34; 56.7 " * 50, 5, 0) == "12, 34; 56.7 " * 50
    with pytest.raises(UserError, match="severity=0"):
        typos("a", 0, 0)
