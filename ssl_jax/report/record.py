"""A run directory, read back: what of it is there, and nothing computed that needs JAX."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_jax.recipe import from_json, plain
from ssl_jax.rundir.log import read_metrics


@dataclass(frozen=True)
class Record:
    """The files of a run: `config` and `env` (`{}` if unreadable), metrics lines in order, evaluations by name."""

    path: Path
    config: Mapping[str, Any]
    env: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    evaluations: Mapping[str, Mapping[str, Any]]
    bad: tuple[Mapping[str, Any], ...]

    @property
    def step(self) -> int:
        """The last step that left a trace."""
        return max((m["step"] for m in self.metrics), default=0)

    @property
    def training(self) -> list[Mapping[str, Any]]:
        """The lines with a loss."""
        return [m for m in self.metrics if "loss" in m]

    @property
    def checks(self) -> list[Mapping[str, Any]]:
        """The lines of the checks during training (collapse measures, online probe)."""
        return [m for m in self.metrics if "health" in m]

    @property
    def spec(self) -> str:
        """What `--config` was when the run was first started, or ""."""
        first = (self.env.get("earlier") or [self.env])[0]
        argv = list(first.get("argv") or ())
        for word, following in zip(argv, [*argv[1:], ""], strict=False):
            if word == "--config" or word.startswith("--config="):
                return str(following if word == "--config" else word.partition("=")[2])
        return ""

    def seconds(self) -> float | None:
        """Time spent in training steps, from the speed on each line of metrics; checks and saving are not in it."""
        batch, before, total = self.config.get("batch_size"), 0, 0.0
        for line in self.training:
            speed = line.get("examples_per_s")
            if batch and speed:
                total += (line["step"] - before) * batch / speed
            before = line["step"]
        return total or None


def read(workdir: Path) -> Record:
    """The record of `workdir`. Files that are missing or damaged, but for config.json, are as if they were empty.

    Raises UserError for a config.json that is not a recipe.
    """
    config = plain(from_json((workdir / "config.json").read_text(encoding="utf-8"), str(workdir / "config.json")))
    evaluations = {p.stem: _object(p) for p in sorted((workdir / "eval").glob("*.json"))}
    bad = workdir / "bad_records.jsonl"
    lines = bad.read_text(encoding="utf-8", errors="replace").splitlines() if bad.is_file() else []
    return Record(
        workdir,
        config,
        _object(workdir / "env.json"),
        tuple(read_metrics(workdir)),
        {name: found for name, found in evaluations.items() if found},
        tuple(found for found in map(_parsed, lines) if found),
    )


def _object(path: Path) -> Mapping[str, Any]:
    try:
        return _parsed(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return {}


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
