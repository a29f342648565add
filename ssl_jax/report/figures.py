"""Pictures from a checkpoint: what the objective makes of test examples, and how its frozen features lie."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.report.charts import Picture
from ssl_jax.report.preview import EXAMPLES, first_views, panels_of, with_ids

if TYPE_CHECKING:
    from ssl_jax.data.panels import Panel
    from ssl_jax.evaluate.features import Features
    from ssl_jax.recipe import Recipe
    from ssl_jax.training.reopen import Opened
    from ssl_jax.training.step import Setup

QUERIES, NEAREST = 10, 6
SEARCHED = 10_000  # records of the probe split among which neighbours are looked for
MAPPED = 1_500  # test records on a map: t-SNE takes about 8 CPU-seconds for so many
FEWEST = 10  # records without which a map says nothing


def restore(recipe: Recipe, workdir: Path) -> Opened:
    """The run in `workdir` as its newest checkpoint left it, on the devices there are. UserError if there is none."""
    from ssl_jax.training.reopen import reopened

    if not (workdir / "checkpoints").is_dir():
        raise UserError(f"{workdir} has no checkpoint yet")
    return reopened(workdir, recipe)


def shown(recipe: Recipe, trained: Opened) -> list[Picture]:
    """Panels of `objective.show` on the first test examples (pretraining ones without a test split)."""
    import jax
    import jax.numpy as jnp

    from ssl_jax.data.pipeline import once
    from ssl_jax.training.step import TrainState

    split = "pretraining" if recipe.data.test is None else "test"
    source = (recipe.data.test or recipe.data.pretrain).build()
    batch, _ = next(once(source, min(EXAMPLES, len(source))))
    zero = jnp.zeros((), jnp.int32)
    views, _ = jax.jit(trained.setup.views)(TrainState(zero + trained.step, zero, zero, {}, {}, ()), batch)
    panels = trained.setup.objective.show(trained.state.params, trained.state.extra, views)
    told = f"{len(batch['_id'])} {split} examples, step {trained.step:,}"
    return [_panel(name, panel, batch["_id"], told) for name, panel in panels.items()]


def given(recipe: Recipe, setup: Setup, source: Any) -> list[Picture]:
    """Panels of what the model was given at step 0."""
    views, ids = first_views(recipe, setup, source)
    told = f"the first {len(ids)} examples of step 0, seed {recipe.seed}"
    return [_panel(f"given_{name}", panel, ids, told) for name, panel in panels_of(setup, views).items()]


def of_features(recipe: Recipe, trained: Opened) -> list[Picture]:
    """The neighbour grid and the maps of frozen features; [] without a test split."""
    from ssl_jax.evaluate.features import extract
    from ssl_jax.evaluate.online import encoder_named, names_of

    if recipe.data.test is None:
        return []
    name = names_of(recipe.evaluate.encoder)[0]
    encoder = encoder_named(trained.setup.objective, name)
    variables = encoder.variables(trained.state)
    tested = _part(recipe.data.test.build(), MAPPED, recipe.seed)
    found = extract(encoder, variables, tested)
    pictures = []
    if recipe.data.probe is not None and "image" in tested[0]:
        searched = _part(recipe.data.probe.build(), SEARCHED, recipe.seed)
        among = extract(encoder, variables, searched)
        pictures.append(_neighbours(tested, found, searched, among, name))
    return pictures + _maps(found, getattr(tested, "classes", ()), recipe.seed)


def one_of_each(labels: np.ndarray | None, total: int, count: int) -> np.ndarray:
    """Places of up to `count` examples: the first of each class, spread over the classes; the first ones without labels."""
    if labels is None:
        return np.arange(min(count, total))
    _, first = np.unique(labels, return_index=True)
    return first[np.unique(np.linspace(0, len(first) - 1, min(count, len(first))).round().astype(int))]


def _neighbours(tested: Any, test: Features, searched: Any, probe: Features, encoder: str) -> Picture:
    from ssl_jax.evaluate.probes.knn import neighbours
    from ssl_jax.report import pictures

    queries = one_of_each(test.y, len(test.x), QUERIES)
    _, found = neighbours(probe.x, test.x[queries], min(NEAREST, len(probe.x)))
    images = [_unit(tested[int(test.ids[i])]["image"]) for i in queries]
    images += [_unit(searched[int(probe.ids[i])]["image"]) for i in found.ravel()]
    labels = None
    told = ""
    if test.y is not None and probe.y is not None:
        labels = np.concatenate([test.y[queries], probe.y[found.ravel()]])
        told = f" {np.mean(probe.y[found] == test.y[queries, None]):.0%} of these have the class of their query."
    places = len(queries) + np.arange(found.size).reshape(found.shape)
    png = pictures.neighbours(np.stack(images), np.arange(len(queries)), places, labels, getattr(tested, "classes", ()))
    alt = (
        f"{len(queries)} test images, each with the {found.shape[1]} nearest probe images by cosine of features.{told}"
    )
    caption = (
        f"Test images and what lies nearest to them among {len(probe.x):,} images of the probe split, by cosine of the "
        f"frozen features ({encoder}). Another class than the query's is marked ≠."
    )
    return Picture("neighbours", png, alt, caption)


def _maps(test: Features, classes: tuple[str, ...], seed: int) -> list[Picture]:
    import sklearn.manifold  # noqa: F401 (loads its OpenMP, or the limit below would not reach it)
    from threadpoolctl import threadpool_limits

    from ssl_jax.evaluate.features import standardise
    from ssl_jax.report import pictures

    if len(test.x) < FEWEST:
        return []
    (x,) = standardise(test.x)
    drawn = []
    for method, name, caption in (
        (
            "pca",
            "PCA",
            "The two directions along which the features vary most; what overlaps here may be apart in others.",
        ),
        ("tsne", "t-SNE", "Near points are near in feature space; sizes of and distances between groups mean little."),
    ):
        with threadpool_limits(1):  # threads that spin while they wait made this 5 times slower on a busy machine
            points = pictures.embed_2d(x, method, seed)
        png = pictures.scatter(points, test.y, classes, title=name)
        coloured = "" if test.y is None else f", coloured by their {len(np.unique(test.y))} classes"
        alt = f"{name} map of the features of {len(x):,} test examples{coloured}."
        drawn.append(Picture(method, png, alt, f"{len(x):,} test examples. {caption}"))
    return drawn


def _panel(name: str, panel: Panel, ids: np.ndarray, told: str) -> Picture:
    from ssl_jax.report.panels import tiles

    columns = f" Columns: {', '.join(panel.captions)}." if panel.captions else ""
    file = re.sub(r"[^A-Za-z0-9_-]+", "_", name)
    title = name.removeprefix("given_").replace("_", " ").capitalize()
    png = tiles.png(with_ids(replace(panel, note=""), ids))
    return Picture(file, png, f"{title}: {told}.{columns}", f"{title}: {told}. {panel.note}".strip())


def _part(source: Any, most: int, seed: int) -> Any:
    """`source`, or a random part of it of about `most` records: sources may be sorted by class."""
    from ssl_jax.data.sources import Subset

    return source if len(source) <= most else Subset(source, 0.0, most / len(source), seed)


def _unit(image: Any) -> np.ndarray:
    image = np.asarray(image)
    return image.astype(np.float32) / 255 if image.dtype == np.uint8 else image.astype(np.float32)
