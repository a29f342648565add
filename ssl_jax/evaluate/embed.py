"""`ssl-jax embed`: features of any source in a file, a part at a time, so that what was interrupted goes on where it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.fit import check_records
from ssl_jax.data.pipeline import once
from ssl_jax.errors import UserError
from ssl_jax.evaluate.baselines import Lenient, Rows
from ssl_jax.evaluate.cache import Cache
from ssl_jax.evaluate.encoders import Found
from ssl_jax.evaluate.features import Features, hidden_fields, unlabelled
from ssl_jax.evaluate.progress import Tick, unheard
from ssl_jax.evaluate.reader import Reader, there
from ssl_jax.evaluate.readings import OWN, Reading, given_by
from ssl_jax.rundir.log import logger
from ssl_jax.rundir.writing import replacing

PART = 8192  # records; a multiple of the batch size, so that every record stands where eval has it in its batch
SUFFIXES = (".parquet", ".npz", ".npy")
_UNBOUNDED = 2**62  # bytes: parts are not thrown away for others

Part = Mapping[str, np.ndarray]
Write = Callable[[Iterator[Part], int, Path], None]


Heard = Callable[[str], Tick]


def embed(
    found: Found,
    source: Any,
    out: Path,
    readings: Sequence[Reading] = (OWN,),
    heard: Heard = lambda title: unheard,
) -> int:
    """Write the features of every record of `source` to `out`; how many records.

    Columns are `id`, the number of the record, `name`, what the source calls it, `label` where there is one, and one for each
    reading, float32. `.parquet` needs pyarrow, the extra `[hf]`; `.npz` has an array for each column, `.npy` the features alone,
    of one reading. Parts that are done lie in `<out>.parts` until all are: the same command goes on from there.

    Raises UserError before any work for a suffix that is none, a missing library, and readings that the encoder cannot give.
    """
    write = _writer(out, readings)
    recipe = found.opened.recipe
    tolerance = Lenient(recipe.data.max_bad_fraction)
    check_records(found.opened.objective.augment, source, tolerance(source))
    _check_readings(found, source, readings)
    parts = out.with_name(f"{out.name}.parts")
    reader = Reader(
        recipe.evaluate.label, readings=tuple(r for r in readings if r != OWN), tolerance=tolerance,
        cache=Cache(parts, _UNBOUNDED), mesh=found.opened.mesh, heard=heard,
    )  # fmt: skip
    weights = {"x": there(found.encoder, found.variables, found.identity)}
    starts = range(0, len(source), PART)

    def made() -> Iterator[Part]:
        for number, start in enumerate(starts, 1):
            rows = Rows(source, np.arange(start, min(start + PART, len(source))))
            features = reader.features(weights, rows, f"part {number} of {len(starts)}")
            yield _columns({reading: x for (_, reading), x in features.items()}, readings, source, start)

    write(made(), len(source), out)
    shutil.rmtree(parts, ignore_errors=True)
    return len(source)


def _columns(features: Mapping[Reading, Features], readings: Sequence[Reading], source: Any, start: int) -> Part:
    first = features[readings[0]]
    ids = start + first.ids.astype(np.int64)
    name_of = getattr(source, "name_of", str)
    columns = {"id": ids, "name": np.array([name_of(int(i)) for i in ids])}
    labels = {} if first.y is None else {"label": first.y}
    return columns | labels | {_title(r): np.asarray(features[r].x) for r in readings}


def _check_readings(found: Found, source: Any, readings: Sequence[Reading]) -> None:
    """UserError for a reading that the encoder cannot give."""
    batch = unlabelled(
        next(once(source, 1, BadRecords(1.0)))[0], *hidden_fields(source, found.opened.recipe.evaluate.label)
    )
    given = given_by(found.encoder, found.variables, batch, readings)
    if missing := [str(reading) for reading in readings if reading not in given]:
        raise UserError(f"--reading {', '.join(missing)}: the encoder {found.name} cannot give it; use own")


def _title(reading: Reading) -> str:
    return "features" if reading == OWN else str(reading)


def _writer(out: Path, readings: Sequence[Reading]) -> Write:
    if out.suffix not in SUFFIXES:
        raise UserError(f"--out {out}: the suffix says the format; use one of {', '.join(SUFFIXES)}")
    if out.suffix == ".npy" and len(readings) > 1:
        raise UserError(
            f"--out {out}: .npy holds one array, and {len(readings)} readings are asked for; use .npz or .parquet"
        )
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}; make it first")
    if out.suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401 (whether it is there)
        except ImportError as error:
            raise UserError("parquet files need pyarrow: pip install 'ssl_jax[hf]'; or write .npz") from error
        return _parquet
    return _npz if out.suffix == ".npz" else _npy


def _parquet(parts: Iterator[Part], total: int, out: Path) -> None:
    """A row group for each part. Features are lists of fixed length; tokens [T, D] one after the other, their shape in the
    metadata of the column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    with replacing(out) as file:
        for part in parts:
            table = pa.Table.from_arrays(
                [_column(x) for x in part.values()], schema=pa.schema([_field(*c) for c in part.items()])
            )
            writer = writer or pq.ParquetWriter(file, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()


def _column(x: np.ndarray) -> Any:
    import pyarrow as pa

    flat = np.ascontiguousarray(x.reshape(len(x), -1)) if x.ndim > 1 else x
    return pa.array(x) if x.ndim == 1 else pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])


def _field(name: str, x: np.ndarray) -> Any:
    import pyarrow as pa

    metadata = {"shape": ",".join(map(str, x.shape[1:]))} if x.ndim > 1 else None
    return pa.field(name, _column(x[:0] if x.ndim == 1 else x[:1]).type, metadata=metadata)


def _npz(parts: Iterator[Part], total: int, out: Path) -> None:
    kept = list(parts)  # memory-mapped where they were made
    with replacing(out) as file:
        columns: dict[str, Any] = {name: np.concatenate([part[name] for part in kept]) for name in kept[0]}
        np.savez(file, **columns)


def _npy(parts: Iterator[Part], total: int, out: Path) -> None:
    kept = [list(part.values())[-1] for part in parts]
    shape = (sum(map(len, kept)), *kept[0].shape[1:])
    with replacing(out) as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for x in kept:
            file.write(np.ascontiguousarray(x, "<f4").data)
    logger.info("%s: %s", out, " x ".join(map(str, shape)))
