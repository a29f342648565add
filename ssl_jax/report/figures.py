"""Pictures from a checkpoint: what the objective makes of test examples, and how its frozen features lie."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ssl_jax.data.panels import Pictures
from ssl_jax.errors import UserError
from ssl_jax.evaluate.classes import class_names
from ssl_jax.report.charts import Picture
from ssl_jax.report.panels.neighbours import MOST
from ssl_jax.report.preview import EXAMPLES, first_views, panels_of, with_ids

if TYPE_CHECKING:
    from ssl_jax.data.bad import BadRecords
    from ssl_jax.data.panels import Panel
    from ssl_jax.evaluate.features import Features
    from ssl_jax.objectives.base import Encoder
    from ssl_jax.recipe import Recipe
    from ssl_jax.report.record import Record
    from ssl_jax.training.reopen import Opened
    from ssl_jax.training.step import Setup

QUERIES = 10
SEARCHED = 10_000  # records of the probe split among which neighbours are looked for
MAPPED = 1_000  # test records on a map: t-SNE takes about 5 CPU-seconds for so many
SPARE = 6  # neighbours looked for beside those shown, since the query itself may be among them
FEWEST = 10  # records without which a map says nothing


class Row(NamedTuple):
    """A record, and its label if it has one."""

    record: Mapping[str, Any]
    label: int | None


class Known(NamedTuple):
    """A split with its features, and what counts its records that cannot be read."""

    source: Any
    features: Features
    bad: BadRecords | None = None

    def row(self, place: int) -> Row:
        """The record whose features are at `place`."""
        label = None if self.features.y is None else int(self.features.y[place])
        index = int(self.features.ids[place])
        return Row(self.source[index] if self.bad is None else self.bad.read(self.source, index)[1], label)


class Answers(NamedTuple):
    """What a picture of neighbours is of: `queries` of them, labels of all rows, among how many, in whose features."""

    queries: int
    labels: np.ndarray | None
    classes: Sequence[str]
    searched: int
    encoder: str
    split: str = "test"

    @property
    def among(self) -> str:
        """The split in which neighbours are looked for."""
        return "probe" if self.split == "test" else self.split


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

    from ssl_jax.data.pipeline import BadRecords, once
    from ssl_jax.training.step import TrainState

    split = "pretraining" if recipe.data.test is None else "test"
    source = (recipe.data.test or recipe.data.pretrain).build()
    batch, _ = next(once(source, min(EXAMPLES, len(source)), BadRecords(recipe.data.max_bad_fraction)))
    zero = jnp.zeros((), jnp.int32)
    views, _ = jax.jit(trained.setup.views)(TrainState(zero + trained.step, zero, zero, {}, {}, ()), batch)
    panels = trained.setup.objective.show(trained.state.params, trained.state.extra, views)
    told = f"{len(batch['_id'])} {split} examples, step {trained.step:,}"
    return [_panel(name, panel, batch["_id"], told) for name, panel in panels.items()]


def given(recipe: Recipe, setup: Setup, source: Any) -> list[Picture]:
    """Panels of what the model was given at step 0."""
    views, ids = first_views(recipe, setup, source)
    told = f"the first {len(ids)} examples of step 0, seed {recipe.seed}"
    return [_panel(f"given_{name}", panel, ids, told) for name, panel in panels_of(setup.objective, views).items()]


def of_features(recipe: Recipe, trained: Opened, record: Record | None = None) -> tuple[list[Picture], list[str]]:
    """Neighbours and the maps of each encoder's frozen features, and why some are not there.

    Without a test split, neighbours of pretraining records among others of them, and no map, whose colours are classes. With a
    `record`, also the errors that the linear probe is surest of, if it was evaluated.
    """
    from ssl_jax.evaluate.online import names_of

    names = names_of(recipe.evaluate.encoder)
    found = [_of_encoder(recipe, trained, name, record) for name in names]
    first, *others = [pictures for pictures, _ in found]
    named = [replace(p, name=f"{p.name}_{n}") for n, made in zip(names[1:], others, strict=True) for p in made]
    return [*first, *named], list(dict.fromkeys(reason for _, told in found for reason in told))


def _of_encoder(recipe: Recipe, trained: Opened, name: str, record: Record | None) -> tuple[list[Picture], list[str]]:
    from ssl_jax.evaluate.classes import numbered_alike
    from ssl_jax.evaluate.online import encoder_named

    encoder, augment = encoder_named(trained.objective, name), trained.objective.augment
    variables = encoder.variables(trained.state)
    known = partial(known_of, encoder, variables, recipe)
    if recipe.data.test is None:
        learned = known(recipe.data.pretrain.build(), SEARCHED)
        return _neighbours(learned, learned, encoder, augment, name, "pretraining")
    source = recipe.data.test.build()
    searched = None if recipe.data.probe is None else recipe.data.probe.build()
    source = source if searched is None else numbered_alike(searched, source)
    test = known(source, MAPPED)
    pictures: list[Picture] = []
    told: list[str] = []
    if searched is not None:
        pictures, told = _neighbours(test, known(searched, SEARCHED), encoder, augment, name)
        pictures += [] if record is None else _mistakes(recipe, record, encoder, augment, name)
    pictures += _places(test, encoder, variables, augment, name)
    return pictures + _maps(test.features, getattr(source, "classes", ()), recipe.seed, name), told


def _places(test: Known, encoder: Encoder, variables: dict, augment: Any, name: str) -> list[Picture]:
    """Maps of patch tokens and attention on some test examples, where the encoder is fed pictures with a grid of patches."""
    from ssl_jax.report.maps import place_maps
    from ssl_jax.report.panels.draw import describe, draw
    from ssl_jax.report.panels.paper import png

    rows = [test.row(i) for i in one_of_each(test.features.y, len(test.features.x), EXAMPLES)]
    batch = numbers([row.record for row in rows])
    panels = [p for p in panels_fed(encoder, augment, batch).values() if isinstance(p, Pictures)]
    maps = place_maps(encoder, variables, batch, panels[0]) if len(panels) == 1 else None
    if maps is None:
        return []
    about = f"What the patches of test examples say ({name})."
    sheet = png(draw(replace(maps, note=""), lead=True))
    return [Picture("patches", sheet, f"{about} {describe(maps)}", f"{about} {maps.note}", wide=True)]


def _mistakes(recipe: Recipe, record: Record, encoder: Encoder, augment: Any, name: str) -> list[Picture]:
    """The errors that the linear probe is surest of, as its evaluation kept them."""
    from ssl_jax.data.bad import BadRecords
    from ssl_jax.evaluate.sources import probe_and_test
    from ssl_jax.report.mistakes import hardest, pictured

    _, test = probe_and_test(recipe)
    hard, label = hardest(record, f"pretrained ({name})", test.fingerprint()), recipe.evaluate.label
    if hard is None or not len(hard.ids) or not hard.ids.max() < len(test):
        return []
    rows = [BadRecords(1.0).read(test, int(i))[1] for i in hard.ids]
    panels = list(panels_fed(encoder, augment, numbers(rows)).values())
    labels = [int(row[label]) for row in rows]
    return [pictured(panels[0], hard, labels, class_names(test, label), name)] if len(panels) == 1 else []


def panels_fed(encoder: Encoder, augment: Any, batch: dict[str, np.ndarray]) -> dict[str, Panel]:
    """What the encoder is fed of a batch of records, as the augment draws it; {} where it has no way to."""
    feeder = getattr(encoder.preprocess, "__self__", augment)  # where a record has several parts, that of this encoder
    panel_of: Callable[[dict[str, Any]], dict[str, Panel]] = getattr(feeder, "panel", lambda views: {})
    return panel_of({k: v[:, None] for k, v in encoder.preprocess(batch).items()})


def one_of_each(labels: np.ndarray | None, total: int, count: int) -> np.ndarray:
    """Places of up to `count` examples: the first of each class, spread over the classes; the first ones without labels."""
    if labels is None:
        return np.arange(min(count, total))
    _, first = np.unique(labels, return_index=True)
    return first[np.unique(np.linspace(0, len(first) - 1, min(count, len(first))).round().astype(int))]


def _neighbours(
    test: Known, probe: Known, encoder: Encoder, augment: Any, name: str, split: str = "test"
) -> tuple[list[Picture], list[str]]:
    """For each panel that the augment makes of what the encoder is fed: test examples, each with what is nearest to it.

    `split`: "test", or "pretraining" where both are of that split.
    """
    from ssl_jax.evaluate.neighbours import neighbours

    queries = one_of_each(test.features.y, len(test.features.x), QUERIES)
    _, found = neighbours(probe.features.x, test.features.x[queries], min(MOST + SPARE, len(probe.features.x)))
    groups = [others(test.row(i), list(map(probe.row, near))) for i, near in zip(queries, found, strict=True)]
    columns = min(1 + MOST, *map(len, groups))
    rows = [row for group in groups for row in group[:columns]]
    labels = None if None in (label := [row.label for row in rows]) else np.array(label)
    panels = panels_fed(encoder, augment, numbers([row.record for row in rows]))
    if not panels:
        feeder = getattr(encoder.preprocess, "__self__", augment)
        return [], [
            f"neighbours of {split} examples; {type(feeder).__name__} has no `panel` of what the encoder is fed"
        ]
    known = Answers(len(queries), labels, getattr(test.source, "classes", ()), len(probe.features.x), name, split)
    file = "neighbours" if len(panels) == 1 else "neighbours_{}"
    return [_of_neighbours(file.format(key), panel, known) for key, panel in panels.items()], []


def others(query: Row, near: Sequence[Row]) -> list[Row]:
    """The query and those near it that are another record: where two sets share records, each is nearest to itself."""
    kept = [row for row in near if not same_record(query.record, row.record)]
    return [query, *(kept or near)]


def same_record(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two records have the same content, whatever their labels."""
    fields = [name for name in a if name != "label" and name in b]
    return bool(fields) and all(np.array_equal(a[name], b[name]) for name in fields)


def numbers(records: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """The fields of records that are numbers, without the label, as a batch."""
    from ssl_jax.evaluate.features import unlabelled

    batch = {k: np.stack([np.asarray(r[k]) for r in records]) for k in records[0]}
    return unlabelled(batch)


def _of_neighbours(file: str, panel: Panel, known: Answers) -> Picture:
    from ssl_jax.report.panels.neighbours import NEAREST, neighbours
    from ssl_jax.report.panels.paper import png

    columns = len(panel.rows) // known.queries
    near = min(columns - 1, NEAREST[type(panel)])
    told = ""
    if known.labels is not None:
        rows = known.labels.reshape(-1, columns)
        told = f" {np.mean(rows[:, 1 : near + 1] == rows[:, :1]):.0%} of these have the class of their query."
    each = f"each with the {near} nearest {known.among} examples by cosine of features"
    alt = f"{known.queries} {known.split} examples, {each}.{told}"
    marked = " Another class than the query's is marked ≠." if known.labels is not None else ""
    caption = (
        f"{known.split.capitalize()} examples and what lies nearest to them among {known.searched:,} of the {known.among} split, "
        f"by cosine of the frozen features ({known.encoder}).{marked}"
    )
    return Picture(file, png(neighbours(panel, columns, known.labels, known.classes)), alt, caption, wide=True)


def _maps(test: Features, classes: tuple[str, ...], seed: int, encoder: str) -> list[Picture]:
    import sklearn.manifold  # noqa: F401 (loads its OpenMP, or the limit below would not reach it)
    from threadpoolctl import threadpool_limits

    from ssl_jax.evaluate.features import standardise
    from ssl_jax.report import plots

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
            points = plots.embed_2d(x, method, seed)
        png = plots.scatter(points, test.y, classes, title=name)
        coloured = "" if test.y is None else f", coloured by their {len(np.unique(test.y))} classes"
        alt = f"{name} map of the features ({encoder}) of {len(x):,} test examples{coloured}."
        drawn.append(Picture(method, png, alt, f"{name} of {len(x):,} test examples ({encoder}). {caption}"))
    return drawn


def _panel(name: str, panel: Panel, ids: np.ndarray, told: str) -> Picture:
    from ssl_jax.report.panels.draw import describe, first_rows
    from ssl_jax.report.panels.paper import png
    from ssl_jax.report.panels.sound import heard

    file = re.sub(r"[^A-Za-z0-9_-]+", "_", name)
    title = name.removeprefix("given_").replace("_", " ").capitalize()
    picture = png(with_ids(replace(panel, note=""), ids))
    alt = f"{title}: {told}. {describe(panel)}"
    sounds = heard(first_rows(panel, len(ids)))
    return Picture(file, picture, alt, f"{title}: {told}. {panel.note}".strip(), wide=True, sounds=sounds)


def known_of(encoder: Encoder, variables: dict, recipe: Recipe, source: Any, most: int) -> Known:
    """A random part of about `most` records of `source` with their features."""
    from ssl_jax.data.bad import BadRecords
    from ssl_jax.evaluate.features import extract

    part, bad = _part(source, most, recipe.seed), BadRecords(recipe.data.max_bad_fraction, total=len(source))
    return Known(part, extract(encoder, variables, part, bad=bad), bad)


def _part(source: Any, most: int, seed: int) -> Any:
    """`source`, or a random part of it of about `most` records: sources may be sorted by class."""
    from ssl_jax.data.sources import Subset

    return source if len(source) <= most else Subset(source, 0.0, most / len(source), seed)
