"""Texts beside records as symbols."""

import numpy as np
import pytest

from ssl_jax.data.sources import GeneratedAudio, Transcripts
from ssl_jax.data.sources.transcripts import symbols_of
from ssl_jax.errors import UserError


class Said:
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return {"said": ["Ça va?", "Don't!"][index]}

    def fingerprint(self):
        return "said"


def test_names_of_labels_and_strings_become_symbols():
    sounds = GeneratedAudio(count=3)
    source = Transcripts(sounds, text="timbre", length=8)
    record = source[1]
    name = sounds.labels["timbre"][record["timbre"]]
    assert record["symbols"].tolist() == [2 + ord(c) - ord("a") for c in name] + [0] * (8 - len(name))
    assert source.labels["symbols"][:3] == ("", " ", "a")
    assert source.labels["timbre"] == sounds.labels["timbre"]
    said = Transcripts(Said(), text="said", length=8)
    assert said[0].keys() == {"symbols"}
    assert [said[i]["symbols"][:5].tolist() for i in (0, 1)] == [[4, 2, 1, 23, 2], [5, 16, 15, 28, 21]]
    assert said.example({"x": np.zeros(1)}, length=8)["symbols"].shape == (8,)
    assert said.fingerprint() != Transcripts(said.source, text="said", length=9).fingerprint()


def test_what_has_no_text_or_one_that_is_too_long_is_a_bad_record():
    sounds = GeneratedAudio(count=3)
    with pytest.raises(ValueError, match="no field 'words'"):
        Transcripts(sounds, text="words")[0]
    with pytest.raises(ValueError, match=r"symbols, and length=3"):
        Transcripts(sounds, text="label", length=3)[0]
    with pytest.raises(UserError, match="no character twice"):
        Transcripts(sounds, characters="aa")
    assert symbols_of("Привет", "abc") == []
