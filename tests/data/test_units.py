"""What a batch holds in the unit that people count it in."""

from types import SimpleNamespace

import numpy as np
import pytest

from ssl_jax.data.units import per_second, units

TOKENS, VALID = np.zeros((2, 5), int), np.arange(5) < np.array([[3], [1]])
WAVE = np.zeros((2, 800, 2))
CASES = {
    "pictures": ({"inputs": ("image",)}, {"image": np.zeros((2, 8, 8, 1))}, {}),
    "tokens that the encoder does not see": ({"inputs": ("image",)}, {"tokens": TOKENS, "valid": VALID}, {}),
    "tokens without padding": ({"inputs": ("tokens",)}, {"tokens": TOKENS}, {"tokens": 10}),
    "tokens with padding": ({"inputs": ("tokens", "valid")}, {"tokens": TOKENS, "valid": VALID}, {"tokens": 4}),
    "stereo at a known rate": ({"inputs": ("wave",), "rate": 400}, {"wave": WAVE}, {"seconds of audio": 4}),
    "a wave of unknown rate": ({"inputs": ("wave",)}, {"wave": WAVE}, {}),
    "a mask of frames, not of samples": (
        {"inputs": ("wave", "valid"), "rate": 400}, {"wave": WAVE, "valid": VALID}, {"seconds of audio": 4},
    ),
    "the augment's own": ({"units": lambda batch: {"residues": len(batch["x"])}}, {"x": TOKENS}, {"residues": 2}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_units(case):
    augment, batch, expected = CASES[case]
    assert units(SimpleNamespace(**augment), batch) == expected


def test_the_column_is_named_after_the_unit():
    assert per_second("seconds of audio") == "seconds_of_audio_per_s"
