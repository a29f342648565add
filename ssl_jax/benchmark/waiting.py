"""How long training waits for its data: the real pipeline, decoding JPEG files that are made for it."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import numpy as np
from PIL import Image

from ssl_jax.benchmark.measure import Trained
from ssl_jax.data.augment import Batch
from ssl_jax.data.pipeline import batches
from ssl_jax.data.sources.folder import ImageFolder
from ssl_jax.devices.mesh import batch_sharding, make_mesh, place_batch
from ssl_jax.plan.problem import Problem
from ssl_jax.training.records import as_learned

FILES = 64


@contextmanager
def pictures(size: int, count: int = FILES) -> Iterator[ImageFolder]:
    """A temporary folder of JPEG files of `size` pixels, quality 90: coarse noise made smooth."""
    rng = np.random.default_rng(0)
    with TemporaryDirectory() as root:
        folder = Path(root) / "class"
        folder.mkdir()
        for i in range(count):
            coarse = Image.fromarray(rng.integers(0, 256, (size // 8, size // 8, 3), np.uint8))
            coarse.resize((size, size), Image.Resampling.BICUBIC).save(folder / f"{i}.jpg", quality=90)
        yield ImageFolder(root, size=size)


def decoded(posed: Problem, files: ImageFolder, threads: int) -> Generator[Batch, None, None]:
    """Batches of files as the step of this problem takes them."""
    source = as_learned(posed.recipe, posed.setup.objective.augment, files)
    size = posed.recipe.batch_size
    return batches(source, seed=0, batch_size=size, threads=threads, prefetch=2 * max(threads, 1))


def measure_waiting(run: Trained, steps: int, size: int, threads: int) -> dict[str, Any]:
    """The share of wall time spent waiting for the pipeline while training, as the progress line has it, and the rate.

    As in training, nobody waits for a step before the next batch is asked for.
    """
    batch, sharding = run.posed.recipe.batch_size, batch_sharding(make_mesh(-1))
    with pictures(size) as files, closing(decoded(run.posed, files, threads)) as stream:
        run.state, run.metrics = run.compiled(run.state, place_batch(next(stream), sharding))
        jax.block_until_ready(run.metrics)
        start, waited = time.perf_counter(), 0.0
        for _ in range(steps):
            asked = time.perf_counter()
            rows = next(stream)
            waited += time.perf_counter() - asked
            run.state, run.metrics = run.compiled(run.state, place_batch(rows, sharding))
        jax.block_until_ready(run.metrics)
        total = time.perf_counter() - start
    return {
        "share": waited / total,
        "threads": threads,
        "examples_per_wall_second": steps * batch / total,
        "pixels": size,
    }
