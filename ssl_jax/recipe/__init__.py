"""From what the user typed to frozen dataclasses: recipes, overrides, components, durations.

    config = load("simclr_conv_fashion:tiny", ["--config.optimizer.lr=1e-3"])   # ml_collections.ConfigDict
    recipe = parse(config)                                                      # Recipe, validated
    model = recipe.model.build()                                                # the object that its target names

This is the only reader of ConfigDict. Every sequence in a loaded recipe is a tuple, so that `config.json` needs no
notation of its own and round-trips exactly.
"""

from ssl_jax.recipe.component import Component as Component
from ssl_jax.recipe.component import Components as Components
from ssl_jax.recipe.files import add_to_path as add_to_path
from ssl_jax.recipe.files import neighbours as neighbours
from ssl_jax.recipe.files import recipes as recipes
from ssl_jax.recipe.loading import load as load
from ssl_jax.recipe.parsing import parse as parse
from ssl_jax.recipe.schema import Duration as Duration
from ssl_jax.recipe.schema import InitFrom as InitFrom
from ssl_jax.recipe.schema import Recipe as Recipe
from ssl_jax.recipe.values import flatten as flatten
from ssl_jax.recipe.values import from_json as from_json
from ssl_jax.recipe.values import plain as plain
from ssl_jax.recipe.values import to_json as to_json
