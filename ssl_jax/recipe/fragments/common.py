"""Pieces that recipes of every modality share. Each returns plain values for a section of a recipe."""

from __future__ import annotations

import math
from typing import Any

from ssl_jax.recipe.phases import SECTIONS


def frozen_evaluation(encoder: str = "student") -> dict[str, Any]:
    """The `evaluate` section for large images: linear and kNN beside a random encoder, no supervised training."""
    return {"encoder": encoder, "probes": ("linear", "knn"), "baselines": ("random",), "every_percent": 5}


def evaluation(encoder: str = "student", tiny: bool = False) -> dict[str, Any]:
    """The `evaluate` section: which encoder is probed, and how long the supervised baseline trains."""
    if tiny:
        few = {"shots": (5, 10), "supervised_examples": 256, "supervised_few_examples": 128}
        return {"encoder": encoder, "health_examples": 200, **few}
    return {"encoder": encoder, "supervised_examples": 60_000, "supervised_few_examples": 12_800}


def next_stage(run: dict[str, Any], before: str, steps: int, **schedule: Any) -> dict[str, Any]:
    """`run` as a stage of `steps` steps that starts from the parameters of the run directory `before`."""
    kept = {key: value for key, value in run.items() if not key.startswith("total_")}
    rest = {key: value for key, value in run["schedule"].items() if not key.startswith("warmup_")}
    return kept | {"total_steps": steps, "schedule": rest | schedule, "init_from": {"workdir": before}}


def in_phases(run: dict[str, Any], **stages: dict[str, Any]) -> dict[str, Any]:
    """`run`, made by `total_epochs` of `data.examples`, and the `stages` that `next_stage` made of it, as phases of one run.

    The optimiser's moments go on from one to the next; schedules are those of each stage.
    """
    first = math.ceil(run["total_epochs"] * run["data"]["examples"] / run["batch_size"])
    parts = [{"name": "first", "steps": first, "schedules": "phase"}]
    for name, stage in stages.items():
        changed = {key: stage[key] for key in SECTIONS if stage[key] != run[key]}
        parts.append({"name": name, "steps": stage["total_steps"], "schedules": "phase", **changed})
    whole = {"total_steps": sum(part["steps"] for part in parts), "phases": tuple(parts)}
    return {key: value for key, value in run.items() if key != "total_epochs"} | whole
