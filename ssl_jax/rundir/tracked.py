"""The process that `tracker.py` starts: `python -m ssl_jax.rundir.tracked wandb <run directory>` with lines of JSON on stdin."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssl_jax.recipe.values import flatten
from ssl_jax.rundir.identity import entries, identity

Log = Callable[[int, Mapping[str, float]], object]
PROJECT = "ssl_jax"


@contextmanager
def wandb(folder: Path) -> Iterator[Log]:
    """A run of Weights & Biases in `folder`/wandb, offline unless WANDB_MODE says otherwise; one for all starts of the run."""
    import wandb as library

    os.environ.setdefault("WANDB_MODE", "offline")
    run = library.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT), dir=str(folder), name=folder.name, id=_name(folder), resume="allow",
        config=settings(folder), settings=library.Settings(console="off", silent=True),
    )  # fmt: skip
    try:
        yield lambda step, numbers: run.log(dict(numbers), step=step)
    finally:
        run.finish()


@contextmanager
def mlflow(folder: Path) -> Iterator[Log]:
    """A run of MLflow in `folder`/mlruns, or where MLFLOW_TRACKING_URI says; one for all starts of the run."""
    if "MLFLOW_TRACKING_URI" not in os.environ:
        os.environ |= {"MLFLOW_TRACKING_URI": (folder / "mlruns").as_uri(), "MLFLOW_ALLOW_FILE_STORE": "true"}
    from mlflow.tracking import MlflowClient

    client, name = MlflowClient(), os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    known = client.get_experiment_by_name(name)
    experiment = client.create_experiment(name) if known is None else known.experiment_id
    tag = _name(folder) or ""
    earlier = client.search_runs([experiment], f"tags.ssl_jax_run = '{tag}'", max_results=1) if tag else []
    run = earlier[0] if earlier else client.create_run(experiment, tags={"ssl_jax_run": tag}, run_name=folder.name)
    for key, value in {} if earlier else settings(folder).items():
        client.log_param(run.info.run_id, key, value)
    try:
        yield lambda step, numbers: [client.log_metric(run.info.run_id, k, v, step=step) for k, v in numbers.items()]
    finally:
        client.set_terminated(run.info.run_id)


def settings(folder: Path) -> dict[str, str]:
    """The recipe, key by key; values as JSON, cut where a library would refuse their length."""
    return {key: json.dumps(value)[:500] for key, value in flatten(entries(folder / "config.json")).items()}


def follow(lines: Iterator[str], log: Log) -> None:
    """Log every line."""
    for line in lines:
        numbers: dict[str, Any] = json.loads(line)
        log(numbers.pop("step"), numbers)


def _name(folder: Path) -> str | None:
    return identity(folder).name or None


if __name__ == "__main__":
    library, place = sys.argv[1:]
    with {"wandb": wandb, "mlflow": mlflow}[library](Path(place)) as log:
        follow(iter(sys.stdin.readline, ""), log)
