"""What the model will be given: the first examples of a run's stream as its first step sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ssl_jax.data.panels import Panel, Pictures
from ssl_jax.errors import UserError
from ssl_jax.objectives.base import Views

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

    from ssl_jax.data.pipeline import BadRecords, batches
    from ssl_jax.training.step import TrainState

    rows = min(count, recipe.batch_size)
    bad = BadRecords(recipe.data.max_bad_fraction)
    batch = next(batches(source, seed=recipe.seed, batch_size=rows, bad=bad))
    zero = jnp.zeros((), jnp.int32)
    # Jitted as in training: compiled and uncompiled arithmetic differ in the last bits.
    views, _ = jax.jit(setup.views)(TrainState(zero, zero, zero, {}, {}, ()), batch)
    return First(views, batch["_id"])


def panels_of(setup: Setup, views: Views) -> dict[str, Panel]:
    """The objective's own pictures of its input, or else the views that are images, side by side; {} if none are."""
    own = setup.objective.preview(views)
    if own:
        return own
    denormalise = getattr(setup.objective.augment, "denormalise", _stretched)
    return {name: _raw_panel(view, denormalise) for name, view in views.items() if _is_images(view)}


def preview(recipe: Recipe, out: Path) -> Path:
    """Write the PNG `out` with the first examples of the run, and return it.

    Raises UserError for an objective whose views are no pictures, and for a file that cannot be written.
    """
    from ssl_jax.report.panels import tiles
    from ssl_jax.training.run import build

    source = recipe.data.pretrain.build()
    setup = build(recipe, len(source))
    views, ids = first_views(recipe, setup, source)
    panels = panels_of(setup, views)
    if not panels:
        shapes = ", ".join(f"{k} {v.dtype}{list(v.shape)}" for k, v in views.items())
        raise UserError(
            f"{type(setup.objective).__name__} has nothing to draw: its views ({shapes}) are no images "
            "[B, V, h, w, C]; write a `preview` method that turns them into panels"
        )
    note = f"{recipe.objective.target.rpartition(':')[2]}, seed {recipe.seed}, step 0: the first {len(ids)} examples."
    pictures = [with_ids(panel, ids, note) for panel in panels.values()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(tiles.png(_stacked(pictures)))
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}; name another file") from error
    return out


def with_ids(panel: Panel, ids: Sequence[int] | np.ndarray, note: str = "") -> Image.Image:
    """A picture of `panel` with the record id under the first image of each row."""
    from ssl_jax.report.panels import tiles

    rows = np.asarray(panel.rows)[: len(ids)]
    blank = [""] * (rows.shape[1] - 1)
    marks = [[f"record {i}", *blank] for i in ids]
    colours = [[tiles.MUTED] * rows.shape[1] for _ in ids]
    return tiles.grid(rows, panel.captions, " ".join(filter(None, (note, panel.note))), marks, colours)


def _is_images(view: Any) -> bool:
    return view.ndim == 5 and view.shape[-1] <= 4 and np.issubdtype(view.dtype, np.floating)


def _raw_panel(view: Any, denormalise: Callable) -> Panel:
    return Pictures(denormalise(view), tuple(f"view {k + 1}" for k in range(view.shape[1])))


def _stretched(x: Any) -> Any:
    return (x - x.min()) / max(float(x.max() - x.min()), 1e-12)


def _stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """`pictures` one under the other."""
    from PIL import Image

    from ssl_jax.report.panels import tiles

    size = max(p.width for p in pictures), sum(p.height for p in pictures)
    whole, top = Image.new("RGB", size, tiles.PAPER), 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    return whole
