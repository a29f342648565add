"""Pieces that recipes of every modality share. Each returns plain values for a section of a recipe."""

from __future__ import annotations

from typing import Any


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
