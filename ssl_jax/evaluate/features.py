"""Frozen features of a source: encoded once, every record exactly once, then probed on the host."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.sources.arrays import check_labels
from ssl_jax.data.sources.base import labels_named
from ssl_jax.devices.distributed import rows_of_all
from ssl_jax.devices.mesh import batch_sharding, batch_shards, place_batch, replicate
from ssl_jax.errors import UserError
from ssl_jax.evaluate.progress import Tick, unheard
from ssl_jax.evaluate.readings import OWN, Reading, grid_of, read
from ssl_jax.evaluate.room import Room, in_memory, only
from ssl_jax.objectives.base import Batch, Encoder
from ssl_jax.rundir.log import logger

_ROWS = 4096  # rows of features that are looked at at a time

Change = Callable[[Batch], Batch]


class Features(NamedTuple):
    """Features `x` float32 [N, F], labels `y` int32 [N] (None without labels) and the places `ids` in the source [N].

    Where an encoder gives every token, `x` is [N, T, D], of a `grid` of T places (rows, columns) where it has one. `target`
    float32 [N, T] are numbers to predict, where a field of them was asked for. `fields` are those fields of the records that
    probes asked for, each [N, ...] with the type that the records have (words are a NumPy array of str).
    """

    x: np.ndarray
    y: np.ndarray | None
    ids: np.ndarray
    target: np.ndarray | None = None
    fields: Mapping[str, np.ndarray] = {}
    grid: tuple[int, ...] = ()

    def take(self, rows: np.ndarray | slice) -> Features:
        """The features of some rows (indices, a mask or a slice)."""
        y, target = (None if part is None else part[rows] for part in (self.y, self.target))
        fields = {name: values[rows] for name, values in self.fields.items()}
        return Features(self.x[rows], y, self.ids[rows], target, fields, self.grid)

    @property
    def labels(self) -> np.ndarray:
        """`y`, for what cannot do without: UserError where there are none."""
        if self.y is None:
            raise UserError("these records have no labels; name labelled sources in data.probe and data.test")
        return self.y


@dataclass(frozen=True)
class Split:
    """What a probe is given: labelled features to learn from and to be tested on, labels in [0, classes).

    `learn` is set where the encoder itself is learnt from the labels: `learn(rows)` is the split of an encoder that saw
    the labels of these training rows only. `towers` is set for probes that name several `encoders`: the features that each
    of them has of the same records. `names` are those of the classes, () where the source has none.

    `readings` has, for each `Reading` that the probe `needs` and this encoder can give, the split with those features (same
    rows, labels and fields; made when it is asked for, and memory-mapped: read it in slices). Where an encoder has none of
    them (raw input has no layers), the probe leaves that row out.

    `again(transform)` are the features of the test records after `transform(batch)`, which is given the records' numeric
    fields as they come (`image` uint8 [B, H, W, C] on the device) with `_id` int32 [B], and returns fields of the same names,
    shapes and types. Compile it once (`jax.jit` at the module's top, with severity as an argument): the encoder is compiled
    once for all of them. None where the features were not made by an encoder.

    `read[name](texts)` are the features float32 [M, F] that an encoder which a probe `asks` gives of sentences (`prompts.py`).
    """

    train: Features
    test: Features
    classes: int
    learn: Callable[[np.ndarray], Split] | None = None
    towers: Mapping[str, Split] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    readings: Mapping[Reading, Split] = field(default_factory=dict)
    again: Callable[[Change], Features] | None = None
    read: Mapping[str, Callable[[Sequence[str]], np.ndarray]] = field(default_factory=dict)

    def subset(self, rows: np.ndarray) -> Split:
        """The split in which only the training `rows` are labelled."""
        if self.learn is not None:
            return self.learn(rows)
        return replace(self, train=self.train.take(rows))


def extract(
    encoder: Encoder,
    variables: dict,
    source: Any,
    batch_size: int = 256,
    label: str = "label",
    place: Callable[[Batch], Batch] | None = None,
    target: str | None = None,
    bad: BadRecords | None = None,
    **options: Any,
) -> Features:
    """Features of every record of `source`, in order, compiled once for an encoder and batch size.

    The encoder is given the numeric fields of a record but never a label or the `target`. `place` puts a batch on a mesh;
    None: over all devices of the mesh in use, if there is one. Records that cannot be read are left out and counted in `bad`;
    without it the first is a UserError. `options` are those of `collect`.
    Features of an encoder that diverged come back as they are: `labelled_split` refuses them, `health.measures` calls them
    collapsed.
    """
    return extract_all({"x": (encoder, variables)}, source, batch_size, label, place, target, bad, **options)["x"]


def extract_all(
    encoders: Mapping[str, tuple[Encoder, dict]], source: Any, *given: Any, **options: Any
) -> dict[str, Features]:
    """As `extract` for several encoders with their variables by name; every record is read once for all of them."""
    found = extract_readings(encoders, source, (OWN,), *given, **options)
    return {name: found[name, OWN] for name in encoders}


def extract_readings(
    encoders: Mapping[str, tuple[Encoder, dict]],
    source: Any,
    readings: Collection[Reading],
    *given: Any,
    **options: Any,
) -> dict[tuple[str, Reading], Features]:
    """As `extract_all` for the `readings` that each encoder can give, all of them in one pass."""
    grids: dict[tuple[str, Reading], tuple[int, ...]] = {}

    def run(batch: Batch) -> dict[tuple[str, Reading], Array]:
        found = {}
        for name, (encoder, variables) in encoders.items():
            for reading, x in _encode(encoder, tuple(readings), variables, batch).items():
                found[name, reading] = x
                if reading.pool == "tokens" and (name, reading) not in grids:
                    grids[name, reading] = grid_of(encoder, variables, batch, reading.layer)
        return found

    collected = collect(run, source, *given, **options)
    return {key: features._replace(grid=grids.get(key, ())) for key, features in collected.items()}


def raw(
    encoder: Encoder,
    source: Any,
    batch_size: int = 256,
    label: str = "label",
    target: str | None = None,
    bad: BadRecords | None = None,
    **options: Any,
) -> Features:
    """What there is without the encoder: `Encoder.raw` of every record. `options` are those of `collect`."""
    run = lambda batch: {"x": _raw(encoder, batch)}  # noqa: E731
    return collect(run, source, batch_size, label, None, target, bad, **options)["x"]


def standardise(train: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """`(x - mean) / std` of every array, with the mean and std of `train` [N, F].

    Linear probes need it: the penalty compares weights, so it must not depend on the scale of a feature, and masked
    autoencoders leave features of very different scales (their own protocol has a BatchNorm before the head). A feature
    that is constant in `train` is zero everywhere.
    """
    mean = train.mean(axis=0, dtype=np.float64)
    square = sum(np.square(train[i : i + _ROWS] - mean).sum(axis=0) for i in range(0, len(train), _ROWS))
    std = np.sqrt(square / len(train))
    constant = std <= 1e-6 * (1 + np.abs(mean))
    shift, scale = mean.astype(train.dtype), np.where(constant, 0, 1 / np.where(constant, 1, std)).astype(train.dtype)
    return tuple((x - shift) * scale for x in (train, *others))


def unlabelled(batch: Batch, *hidden: str | None) -> Batch:
    """The fields of a batch that an encoder may see: numbers, without the `hidden` ("label") and the pipeline's own."""
    hidden = hidden or ("label",)
    return {k: v for k, v in batch.items() if k not in hidden and not k.startswith("_") and v.dtype.kind in "biuf"}


def hidden_fields(source: Any, label: str = "label", target: str | None = None) -> tuple[str | None, ...]:
    """The fields that no encoder may see: `label` and `target`, and every label that the source says it has (`labels`)."""
    return ("label", label, target, *labels_named(source))


def labelled_split(
    train: Features, test: Features, classes: int | None = None, learn: Callable[[np.ndarray], Split] | None = None
) -> Split:
    """A `Split` of features that were looked at: finite, labelled, labels in [0, classes) (None: those of train).

    Raises:
      UserError: what is wrong, with the first record that has it.
    """
    for name, part in (("probe", train), ("test", test)):
        if part.y is None:
            raise UserError(f"the {name} split has no labels; name a labelled source in data.{name}")
        check_finite(part)
    classes = int(train.labels.max()) + 1 if classes is None else classes
    train, test = (part._replace(y=check_labels(part.labels, classes)) for part in (train, test))
    return Split(train, test, classes, learn)


def split_of(train: Features, test: Features, classes: int | None = None) -> Split:
    """As `labelled_split`, but for features without labels: a `Split` of no classes, for probes that need none."""
    if train.y is not None and test.y is not None:
        return labelled_split(train, test, classes)
    for part in (train, test):
        check_finite(part)
    return Split(train, test, 0)


def check_finite(features: Features) -> None:
    """Raise a `UserError` if any feature is NaN or infinite."""
    x = features.x.reshape(len(features.x), -1)
    finite = [np.isfinite(x[start : start + _ROWS]).all(axis=1) for start in range(0, len(x), _ROWS)]
    wrong = np.flatnonzero(~np.concatenate(finite))
    if len(wrong):
        raise UserError(
            f"{len(wrong)} of {len(features.x)} records have features that are NaN or infinite (record "
            f"{features.ids[wrong[0]]} first): the encoder diverged, or the record does; evaluate an earlier checkpoint "
            f"with --step, or look at the record"
        )


@partial(jax.jit, static_argnums=(0, 1))
def _encode(encoder: Encoder, readings: tuple[Reading, ...], variables: dict, batch: Batch) -> dict[Reading, Array]:
    return replicate(read(encoder, variables, batch, readings))


@partial(jax.jit, static_argnums=0)
def _raw(encoder: Encoder, batch: Batch) -> Array:
    return replicate(encoder.raw(batch))


def collect(
    run: Callable[[Batch], Mapping[Any, Array]],
    source: Any,
    batch_size: int = 256,
    label: str = "label",
    place: Callable[[Batch], Batch] | None = None,
    target: str | None = None,
    bad: BadRecords | None = None,
    fields: Collection[str] = (),
    room: Room = in_memory,
    tick: Tick = unheard,
    change: Change | None = None,
) -> dict[Any, Features]:
    """Run `run` over the source: each of its results [N, ...] with labels, ids and targets, each record counted once.

    Records that cannot be read are left out; labels that are all -1 are none. Of several processes each reads its share of every
    batch, and all return all. A batch has `batch_size` rows, or the next number that the devices divide.

    Args:
      run: float results of a batch of records, by name, the same on every device.
      source: what is read.
      batch_size: records in a batch.
      label: the field with the labels.
      place: puts a batch on a mesh; None: splits it over the devices of the mesh in use, if there is one.
      target: the field of numbers to predict, if any.
      bad: counts the records that cannot be read; None stops at the first.
      fields: those of the records that are kept beside.
      room: makes the array [N, ...] for a result.
      tick: told after each batch how many records of how many are done.
      change: what is done to a batch on the device before it is run, as in `Split.again`.

    Raises:
      UserError: too many bad records, a field that is not there, a source that does not yield each record exactly once.
    """
    bad = BadRecords(0.0) if bad is None else bad
    hidden, known = hidden_fields(source, label, target), bad.count
    kept = {label, *(() if target is None else (target,)), *fields}
    rows: dict[Any, np.ndarray] = {}
    parts: list[dict[str, np.ndarray]] = []
    size = _divisible(batch_size)
    for results, batch, valid in _one_ahead(_given(run, place, hidden, change), source, size, bad):
        start = size * len(parts)
        _check_fields(batch, target, fields)
        parts.append({k: v for k, v in batch.items() if k in kept} | {"_id": batch["_id"], "_valid": valid})
        for name, result in results.items():
            x = np.asarray(result)[: len(source) - start]
            if name not in rows:
                rows[name] = room(name, (len(source), *x.shape[1:]))
            rows[name][start : start + len(x)] = x
        tick(min(start + size, len(source)), len(source))
    columns = {name: _of_all_processes([part[name] for part in parts])[: len(source)] for name in parts[0]}
    valid = columns.pop("_valid")
    _check_once(valid, columns["_id"], sum_over_processes(bad.count))
    if bad.count > known:
        logger.warning(
            "left out %d of %d records that cannot be read: %s", len(source) - valid.sum(), len(source), bad.told()
        )
    columns = {name: column[valid] for name, column in columns.items()}
    return {name: _features(only(x, valid), columns, label, target, fields) for name, x in rows.items()}


def _features(
    x: np.ndarray, columns: Mapping[str, np.ndarray], label: str, target: str | None, fields: Collection[str]
) -> Features:
    labels = columns.get(label)
    y = None if labels is None or np.all(labels == -1) else labels.astype(np.int32)
    wanted = None if target is None else columns[target].astype(np.float32).reshape(len(x), -1)
    return Features(x, y, columns["_id"], wanted, {name: columns[name] for name in fields})


def _check_fields(batch: Batch, target: str | None, fields: Collection[str]) -> None:
    if target is not None and target not in batch:
        raise UserError(
            f"evaluate.target={target!r}: records have only {', '.join(sorted(unlabelled(batch)))}; name one of them"
        )
    for name in fields:
        if name not in batch:
            there = ", ".join(sorted(k for k in batch if not k.startswith("_")))
            raise UserError(f"a probe needs the field {name!r}, and records have only {there}; leave the probe out")


def _check_once(valid: np.ndarray, ids: np.ndarray, bad: int) -> None:
    """UserError unless the records are those of the source, each once and in order, but for `bad` ones."""
    read, expected = ids[valid], np.flatnonzero(valid)
    if not len(valid) or len(read) < len(valid) - bad or np.any(read != expected):
        raise UserError(
            f"{len(read)} of {len(valid)} records were read; the source must yield each record exactly once"
        )


def _divisible(batch_size: int) -> int:
    """`batch_size`, or the next larger number that the batch axes of the mesh in use divide."""
    mesh = jax.sharding.get_mesh()
    return batch_size if mesh.empty else -(-batch_size // batch_shards(mesh)) * batch_shards(mesh)


def _placed(batch: Batch) -> Batch:
    """The batch over the devices of the mesh in use; as it is without one."""
    mesh = jax.sharding.get_mesh()
    return batch if mesh.empty else place_batch(batch, batch_sharding(mesh))


def _of_all_processes(parts: list[np.ndarray]) -> np.ndarray:
    """Each process's rows of all batches, in the order of the source."""
    own = np.concatenate(parts)
    if _share()[1] == 1:
        return own
    if own.dtype.kind in "US":  # words of one length everywhere
        longest = rows_of_all(np.array([own.dtype.itemsize], np.int32)).max()
        own = own.astype(np.dtype((own.dtype.kind, longest // np.dtype(f"{own.dtype.kind}1").itemsize)))
    bytes_of = np.ascontiguousarray(own).view(np.uint8).reshape(len(parts), -1)  # jax would make int64 int32
    every = rows_of_all(bytes_of).reshape(jax.process_count(), len(parts), -1).swapaxes(0, 1)
    return np.ascontiguousarray(every).view(own.dtype).reshape(-1, *own.shape[1:])


def _share() -> tuple[int, int]:
    """Which process of how many this is in a pass over a source; without a mesh in use each reads all."""
    return (0, 1) if jax.sharding.get_mesh().empty else (jax.process_index(), jax.process_count())


def sum_over_processes(count: int) -> int:
    """The sum of every process's `count`. A collective."""
    return count if _share()[1] == 1 else int(rows_of_all(np.array([count], np.int32)).sum())


def _given(
    run: Callable[[Batch], Mapping[Any, Array]],
    place: Callable[[Batch], Batch] | None,
    hidden: tuple[str | None, ...],
    change: Change | None,
) -> Callable[[Batch], Mapping[Any, Array]]:
    """`run` of a batch as it is read: what an encoder may see of it, placed, and changed."""
    placed = place or _placed
    if change is None:
        return lambda batch: run(placed(unlabelled(batch, *hidden)))

    def changed(batch: Batch) -> Mapping[Any, Array]:
        made = change(placed(unlabelled(batch, *hidden) | {"_id": batch["_id"]}))
        return run({name: x for name, x in made.items() if name != "_id"})

    return changed


def _one_ahead(
    run: Callable[[Batch], Mapping[Any, Array]], source: Any, batch_size: int, bad: BadRecords
) -> Iterator[tuple[Mapping[Any, Array], Batch, np.ndarray]]:
    """Results one batch late, so that the host decodes the next batch while the device encodes this one."""
    from ssl_jax.data.pipeline import once

    waiting = None
    for batch, valid in once(source, batch_size, bad, *_share()):
        result = run(batch)
        if waiting is not None:
            yield waiting
        waiting = (result, batch, np.asarray(valid))
    if waiting is not None:
        yield waiting
