"""What encoders of one space find of each other's records: queries with the nearest, and records with prompts of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np

from ssl_jax.evaluate.classes import class_names
from ssl_jax.evaluate.prompts import class_vectors, cosines, prompts_in, prompts_of, read_by
from ssl_jax.evaluate.search import SHARED
from ssl_jax.recipe.probes import probe_component
from ssl_jax.report.charts import Picture
from ssl_jax.report.figures import MAPPED, Known, known_of, numbers, one_of_each, panels_fed
from ssl_jax.report.panels.draw import draw, regrouped, with_rows
from ssl_jax.report.panels.paper import Tag, png, stacked
from ssl_jax.report.plots import class_name

if TYPE_CHECKING:
    from PIL import Image

    from ssl_jax.data.panels import Panel
    from ssl_jax.objectives.base import Encoder
    from ssl_jax.recipe import Recipe
    from ssl_jax.training.reopen import Opened

QUERIES, FOUND = 6, 4
ZERO_SHOT = "ssl_jax.evaluate.probes.zeroshot:"
Both = tuple["Encoder", Known]


def retrieved(recipe: Recipe, trained: Opened) -> list[Picture]:
    """For every way between two encoders of a space some test records with what is nearest; and prompts, where asked for.

    [] where the run has no such encoders or no test split.
    """
    shared = {n: each for n, each in trained.objective.encoders().items() if n.endswith(SHARED)}
    if recipe.data.test is None or len(shared) < 2:
        return []
    source = recipe.data.test.build()
    towers = {
        name.removesuffix(SHARED): (each, known_of(each, each.variables(trained.state), recipe, source, MAPPED))
        for name, each in shared.items()
    }
    ways = [_way(trained, *way, towers) for way in permutations(towers, 2)]
    return ways + [
        _prompted(trained, entry, towers)
        for entry in recipe.evaluate.probes
        if isinstance(entry, Mapping) and _asks(entry)
    ]


def _way(trained: Opened, asked: str, searched: str, towers: Mapping[str, Both]) -> Picture:
    """Queries of one tower with the nearest records of another."""
    (_, queries), (_, bank) = towers[asked], towers[searched]
    chosen = one_of_each(queries.features.y, len(queries.features.x), QUERIES)
    nearest = np.argsort(-cosines(queries.features.x[chosen], _unit(bank.features.x)), axis=1)[:, :FOUND]
    right = np.mean(bank.features.ids[nearest[:, 0]] == queries.features.ids[chosen])
    ask, find = (
        _panel(trained, towers[name], places) for name, places in ((asked, chosen), (searched, nearest.ravel()))
    )
    found = regrouped(find, FOUND, [f"{i}. {searched}" for i in range(1, FOUND + 1)])
    rows = [sheet for i in range(len(chosen)) for sheet in (_row(ask, i, asked), _row(found, i))]
    told = f"{len(chosen)} test records by their {asked}, each with the {FOUND} nearest {searched} of {len(bank.features.x):,}"
    caption = f"{told}. The first is the record's own in {right:.0%}."
    return Picture(f"retrieved_{asked}_{searched}", png(stacked(rows)), caption, caption, wide=True)


def _prompted(trained: Opened, entry: Mapping[str, Any], towers: Mapping[str, Both]) -> Picture:
    """Test records, each with the classes whose prompts it is nearest to."""
    probe = probe_component(entry).build()
    name = probe.encoders[0].removesuffix(SHARED)
    _, known = towers[name]
    names = tuple(probe.names) or tuple(class_names(known.source, trained.recipe.evaluate.label))
    prompts = prompts_in(probe.prompts, names) if probe.prompts else prompts_of(names, tuple(probe.templates))
    reader, _ = towers[probe.reader.removesuffix(SHARED)]
    read = [read_by(reader, reader.variables(trained.state), texts) for texts in prompts.values()]
    vectors = np.stack([class_vectors(each) for each in read])
    chosen = one_of_each(known.features.y, len(known.features.x), QUERIES)
    scores = cosines(known.features.x[chosen], vectors)
    best = np.argsort(-scores, axis=1)[:, :3]
    tags = [
        [Tag(", ".join(f"{class_name(k, names)} {row[k]:.2f}" for k in order))]
        for order, row in zip(best, scores, strict=True)
    ]
    example = ", ".join(texts[0] for texts in list(prompts.values())[:2])
    caption = f"Test records by their {name}, the classes whose prompts ({example}, ...) are nearest, and the cosines."
    return Picture(
        f"prompts_{name}", png(draw(_panel(trained, towers[name], chosen), tags)), caption, caption, wide=True
    )


def _asks(entry: Mapping[str, Any]) -> bool:
    return str(entry.get("target", "")).startswith(ZERO_SHOT)


def _panel(trained: Opened, tower: Both, places: Sequence[int] | np.ndarray) -> Panel:
    """What the tower is given of the records at some places."""
    encoder, known = tower
    batch = numbers([known.row(int(place)).record for place in places])
    return next(iter(panels_fed(encoder, trained.objective.augment, batch).values()))


def _row(panel: Panel, number: int, title: str = "") -> Image.Image:
    """One row of a panel as a sheet."""
    one = with_rows(panel, lambda rows: rows[number : number + 1])
    return draw(replace(one, captions=(f"query: {title}",)) if title else one)


def _unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12))
