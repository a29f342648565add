"""Dotted paths of older run directories go on resolving, in place and nested."""

import json

import pytest

from ssl_jax.recipe import from_json, load, parse, to_json
from ssl_jax.recipe.component import Component
from ssl_jax.recipe.renames import ADDED, MOVED, with_added_keys

CLASSES = {  # what recipes could name in each module that is gone
    "ssl_jax.data.arrays": ("Arrays",),
    "ssl_jax.data.augment": ("ImageViews",),
    "ssl_jax.data.embedded": ("Embedded",),
    "ssl_jax.data.folder": ("ImageFolder",),
    "ssl_jax.data.idx": ("FashionMNIST", "Idx"),
    "ssl_jax.data.pixel_control": ("Pendulum",),
    "ssl_jax.data.prepared": ("Tfds",),
}


@pytest.mark.parametrize("module", sorted(MOVED))
def test_every_class_of_a_module_that_moved_resolves(module):
    for name in CLASSES[module]:
        config = from_json(json.dumps({"source": {"target": f"{module}:{name}"}}))
        assert Component(config.source.target, {}).resolve().__name__ == name


def test_a_config_of_an_older_run_is_the_recipe_of_today():
    today = to_json(load("simclr_conv_fashion:tiny"))
    older = today.replace("ssl_jax.data.image.views:", "ssl_jax.data.augment:")
    assert older != today
    assert to_json(from_json(older)) == today
    assert parse(from_json(older)).augment.build().size == (28, 28)


def test_a_nested_target_is_renamed_too():
    config = {
        "source": {"target": "ssl_jax.data.sources:Subset", "source": {"target": "ssl_jax.data.embedded:Embedded"}}
    }
    assert from_json(json.dumps(config)).source.source.target == "ssl_jax.data.sources:Embedded"


def test_keys_that_came_later_are_what_older_runs_did():
    today = load("simclr_conv_fashion:tiny").to_dict()
    older = {section: dict(keys) if isinstance(keys, dict) else keys for section, keys in today.items()}
    for path in ADDED:
        section, _, key = path.rpartition(".")
        del (older[section] if section else older)[key]
    assert with_added_keys(older) == today
