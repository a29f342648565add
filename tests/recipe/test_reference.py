"""docs/recipe-keys.md is what the schema says."""

import dataclasses
from pathlib import Path

import pytest

from ssl_jax.recipe.reference import keys, meanings, page, sections_of
from ssl_jax.recipe.schema import Evaluate, Log, Optimizer, Recipe

PAGE = Path(__file__).parents[2] / "docs" / "recipe-keys.md"
SECTIONS = {"": Recipe, **dict(sections_of(Recipe))}


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), "run tools/recipe_keys"


@pytest.mark.parametrize("section", SECTIONS.values(), ids=lambda section: section.__name__)
def test_every_key_has_a_meaning_and_every_meaning_a_key(section):
    assert set(meanings(section)) == {f.name for f in dataclasses.fields(section)}


@pytest.mark.parametrize(
    ("section", "prefix", "name", "expected"),
    [
        (Optimizer, "optimizer.", "optimizer.b1", ("float", "`0.9`", "at least 0 and below 1")),
        (Optimizer, "optimizer.", "optimizer.clip_by", ("str", "`'global'`", "one of global, module, tensor")),
        (Recipe, "", "seed", ("int", "required", "at least 0 and below 2**31")),
        (Recipe, "", "total_epochs", ("int or None", "`None`", "greater than 0")),
        (Evaluate, "evaluate.", "evaluate.every_<unit>", ("number", "10 percent", "0 or more")),
        (Log, "log.", "log.every_<unit>", ("number", "10 steps", "greater than 0")),
    ],
)
def test_types_defaults_and_ranges_are_those_of_the_schema(section, prefix, name, expected):
    found = {key.name: (key.type, key.default, key.rule) for key in keys(section, prefix)}
    assert found[name] == expected
