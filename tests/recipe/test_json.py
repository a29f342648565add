"""One way to read JSON that others may have changed: it is read, or refused in a sentence."""

import json
import os

import pytest

from ssl_jax.errors import UserError
from ssl_jax.recipe import load, parse, to_json
from ssl_jax.recipe.values import LARGEST_JSON, fits, parsed_json, read_config, read_json

DEEP = 100_000
BAD = {
    "torn": (b'{"a"', "is not valid JSON"),
    "empty": (b"", "is not valid JSON"),
    "not UTF-8": (b'{"a": "\xff"}', "is not valid JSON"),
    "NUL bytes": (b"\x00" * 64, "is not valid JSON"),
    "arrays without end": (b"[" * DEEP, "is not valid JSON"),
    "objects 100,000 deep": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "is not valid JSON|nested more than"),
    "arrays 100 deep": (b"[" * 100 + b"]" * 100, "is nested more than"),
    "a number of 10,000 digits": (b"1" * 10_000, "is not valid JSON"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_json_is_refused_with_the_file_and_the_remedy(tmp_path, kind):
    content, said = BAD[kind]
    (tmp_path / "f.json").write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        read_json(tmp_path / "f.json", "; restore it")
    assert str(caught.value).startswith(str(tmp_path / "f.json"))
    assert str(caught.value).endswith("; restore it")


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name, said in (("folder", "directory"), ("fifo", "no regular file"), ("none", "No such file")):
        with pytest.raises(UserError, match=f"cannot be read: .*{said}"):
            read_json(tmp_path / name)


def test_what_is_too_large_is_not_parsed():
    with pytest.raises(UserError, match="more than 67,108,864 bytes"):
        parsed_json(b" " * (LARGEST_JSON + 1), "f.json")


def test_a_flipped_bit_in_a_recipe_is_refused_or_another_recipe(tmp_path):
    text, file = to_json(load("mae_vit_fashion:tiny")).encode(), tmp_path / "config.json"
    refused = 0
    for bit in range(0, 8 * len(text), 163):  # odd, so that every bit of a byte has its turn
        changed = bytearray(text)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        try:
            parse(read_config(file)).check()
        except UserError:
            refused += 1
    assert refused > 30


@pytest.mark.parametrize(
    ("value", "shape", "fit"),
    [
        (1, int, True),
        (True, int, False),
        (True, bool, True),
        (None, (str, None), True),
        (2**63, int, False),
        ([1, "a"], [int], False),
        ({"a": [1]}, {str: [int]}, True),
        ({"a": 1}, {"a": int, "b": int}, False),
        ({"a": 1}, {"a": int, "b?": int}, True),
        ({"a": 1, "b": "c"}, {"a": int, "b?": int}, False),
        ([], {"a?": int}, False),
        (1, object, True),
    ],
)
def test_shapes_of_plain_data(value, shape, fit):
    assert fits(value, shape) == fit
    assert fits(json.loads(json.dumps(value)), shape) == fit
