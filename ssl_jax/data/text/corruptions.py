"""What happens to a text: typing errors. On the host, before the tokenizer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ssl_jax.errors import UserError

RATES = (0.02, 0.05, 0.1, 0.15, 0.2)  # share of letters that go wrong, at severities 1 to 5
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
BESIDE = {key: row[max(i - 1, 0) : i] + row[i + 1 : i + 2] for row in _ROWS for i, key in enumerate(row)}


def typos(text: str, severity: int, seed: int) -> str:
    """A text in which a share of the letters is left out, typed twice, swapped with the next, or hit beside (QWERTY, a to z).

    A function of text, severity and seed. What is no letter stays.

    Raises:
      UserError: a severity that is none of 1 to 5.
    """
    if severity not in range(1, 6):
        raise UserError(f"severity={severity!r}: use 1 (mild) to 5")
    rng, letters = np.random.default_rng(seed), list(text)
    hit = np.flatnonzero(rng.random(len(letters)) < RATES[severity - 1])
    kinds = rng.integers(len(_KINDS), size=len(hit))
    for i, kind in zip(hit[::-1], kinds, strict=True):  # from the end, so that places before stay what they were
        if letters[i].isalpha():
            letters[i : i + 2] = _KINDS[kind](letters[i : i + 2], rng)
    return "".join(letters)


def _left_out(pair: list[str], rng: np.random.Generator) -> list[str]:
    return pair[1:]


def _twice(pair: list[str], rng: np.random.Generator) -> list[str]:
    return [pair[0], *pair]


def _swapped(pair: list[str], rng: np.random.Generator) -> list[str]:
    return pair[::-1]


def _beside(pair: list[str], rng: np.random.Generator) -> list[str]:
    near = BESIDE.get(pair[0].lower(), pair[0])
    found = near[int(rng.integers(len(near)))]
    return [found.upper() if pair[0].isupper() else found, *pair[1:]]


_KINDS: tuple[Callable[[list[str], np.random.Generator], list[str]], ...] = (_left_out, _twice, _swapped, _beside)
