"""What the model will be given: the first examples of a run's stream as its first step sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ssl_jax.data.panels import Panel
from ssl_jax.errors import UserError
from ssl_jax.objectives.base import Objective, Views
from ssl_jax.report.contact import ranges
from ssl_jax.report.panels.draw import draw, first_rows
from ssl_jax.report.panels.paper import Tag, png, stacked

if TYPE_CHECKING:
    from PIL import Image

    from ssl_jax.recipe import Recipe
    from ssl_jax.training.step import Setup

EXAMPLES = 8


class First(NamedTuple):
    """Views of the first examples at step 0, and the ids int32 [B] of the records that they were made from."""

    views: Views
    ids: np.ndarray


def first_views(recipe: Recipe, setup: Setup, source: Any, count: int = EXAMPLES) -> First:
    """The first `count` rows of the views that step 0 of the run will compute.

    They need no more than the first `count` records: an example's views depend on its own key and record and on the
    key of the step, never on the rest of the batch.
    """
    import jax
    import jax.numpy as jnp

    from ssl_jax.training.step import TrainState

    batch = first_batch(recipe, setup, source, count)
    zero = jnp.zeros((), jnp.int32)
    # Jitted as in training: compiled and uncompiled arithmetic differ in the last bits.
    views, _ = jax.jit(setup.views)(TrainState(zero, zero, zero, {}, {}, ()), batch)
    return First(views, batch["_id"])


def first_batch(recipe: Recipe, setup: Setup, source: Any, count: int = EXAMPLES) -> dict[str, np.ndarray]:
    """The first records of the run, as a batch of the pipeline."""
    from ssl_jax.data.fit import check_records
    from ssl_jax.data.pipeline import BadRecords, batches

    bad = BadRecords(recipe.data.max_bad_fraction)
    source = check_records(setup.objective.augment, source, bad)
    return next(batches(source, seed=recipe.seed, batch_size=min(count, recipe.batch_size), bad=bad))


def contact_sheets(recipe: Recipe, setup: Setup, source: Any, views: Views) -> list[Image.Image]:
    """Every image that the augment makes of the first records, at its size, with the numbers that were drawn for it.

    Of an augment that does not tell its draws there is none.
    """
    import jax.numpy as jnp

    from ssl_jax.data.image.told import lines, told
    from ssl_jax.data.image.views import ImageViews
    from ssl_jax.objectives.base import example_keys
    from ssl_jax.report.contact import contact

    augment = setup.objective.augment
    if not isinstance(augment, ImageViews):
        return []
    batch = first_batch(recipe, setup, source)
    whole = batch.get(augment.key)
    size = None if whole is None else (int(whole.shape[1]), int(whole.shape[2]))
    drawn = {
        name: np.asarray(augment.denormalise(views[name])) for name in augment.policies if _are_images(views.get(name))
    }
    channels = next((x.shape[-1] for x in drawn.values()), 3)
    keys = example_keys(recipe.seed, *(jnp.asarray(batch[name]) for name in ("_epoch", "_id")))
    numbers = told(augment, keys, size, channels)
    words = {name: [[lines(n, size) for n in row] for row in numbers[name]] for name in drawn}
    fitting = [name for name, x in drawn.items() if x.shape[:2] == (len(words[name]), len(words[name][0]))]
    return [contact(drawn[name], words[name], batch["_id"], name) for name in fitting]


def _are_images(x: Any) -> bool:
    return x is not None and x.ndim == 5


def panels_of(objective: Objective, views: Views) -> dict[str, Panel]:
    """What the objective shows of its views; {} where it leaves that to an augment that has no `panel`."""
    left_to_augment = type(objective).preview is Objective.preview
    return {} if left_to_augment and not hasattr(objective.augment, "panel") else objective.preview(views)


def preview(recipe: Recipe, out: Path) -> Path:
    """Write the PNG `out` with the first examples of the run, and return it: what the objective shows of them, and then every
    view with the numbers that were drawn for it.

    Raises UserError where there is no panel of the views, and for a file that cannot be written.
    """
    from ssl_jax.training.records import as_learned
    from ssl_jax.training.run import build

    source = recipe.data.pretrain.build()
    setup = build(recipe, len(source))
    source = as_learned(recipe, setup.objective.augment, source)
    views, ids = first_views(recipe, setup, source)
    panels = panels_of(setup.objective, views)
    if not panels:
        shapes = ", ".join(f"{k} {v.dtype}{list(v.shape)}" for k, v in views.items())
        raise UserError(
            f"{type(setup.objective).__name__} has nothing to draw of its views ({shapes}); give its augment a method "
            "`panel` that turns them into pictures, texts, signals or clips (ssl_jax/data/panels.py)"
        )
    note = f"{recipe.objective.target.rpartition(':')[2]}, seed {recipe.seed}, step 0: the first {len(ids)} examples."
    sheets = contact_sheets(recipe, setup, source, views)
    note = note if sheets else f"{note} {ranges(setup.objective.augment)}"
    pictures = [*(with_ids(panel, ids, note) for panel in panels.values()), *sheets]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(png(stacked(pictures)))
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}; name another file") from error
    return out


def with_ids(panel: Panel, ids: Sequence[int] | np.ndarray, note: str = "") -> Image.Image:
    """A picture of `panel` with the record id under the first cell of each row."""
    shown = first_rows(panel, len(ids))
    blank = [Tag("")] * (len(shown.rows[0]) - 1)
    tags = [[Tag(f"record {i}"), *blank] for i in ids]
    return draw(replace(shown, note=" ".join(filter(None, (note, panel.note)))), tags)
