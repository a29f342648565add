"""A run directory, read back: what of it is there, and nothing computed that needs JAX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.recipe import plain
from ssl_jax.recipe.values import fits, parsed_json, read_config, read_json
from ssl_jax.report.data_card import CARD
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
    card: Mapping[str, Any] = field(default_factory=dict)  # of its data, if `ssl-jax data card --out` wrote one there

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
        argv = list(first.get("argv", ()))
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
    """The record of `workdir`. What is missing, damaged or not what a run writes there is left out, but for config.json.

    Raises UserError for a config.json that is not a recipe.
    """
    found = {p.stem: _object(p) for p in sorted((workdir / "eval").glob("*.json"))}
    bad = workdir / "bad_records.jsonl"
    lines = bad.read_text(encoding="utf-8", errors="replace").splitlines() if bad.is_file() else []
    return Record(
        workdir,
        plain(read_config(workdir / "config.json")),
        _those_that_fit(_object(workdir / "env.json"), ENV),
        tuple(_metrics(line) for line in read_metrics(workdir)),
        {name: _evaluation(each) for name, each in found.items() if fits(each, EVALUATION)},
        tuple(found for found in map(_parsed, lines) if found),
        card if fits(card := _object(workdir / "card.json"), CARD) else {},
    )


NUMBER = (int, float)
ENV = {
    "packages": {str: (str, None)},
    "devices": {str: int},
    "mesh": {str: int},
    "argv": [str],
    "earlier": [{"argv?": [str]}],
    "host": str,
    "platform": str,
    "cpus": int,
    "python": str,
    "ssl_jax": str,
    "commit": (str, None),
    "started": str,
    "data": str,
    "augment": str,
    "records": int,
}
EVALUATION = {
    "columns": [{"title": str, "value": str, "unit?": str, "spread?": str, "better?": str}],
    "rows": {str: {str: object}},
    "protocol?": str,
    "kinds?": ({str: str}, None),
    "step?": (int, None),
    "train?": {"records?": int},
    "test?": {"records?": int},
}
# Of a probe on a row; everything else that is shown is a number.
RESULT = {
    "note": str,
    "interval": [NUMBER],
    "confusion": [[NUMBER]],
    "classes": [str],
    "groups": {str: {"accuracy": NUMBER, "interval": [NUMBER], "n": int}},
    "errors": {str: [NUMBER]},
}
METRICS = {"health": str, "health_reason": str, "health_since": int, "skipped": int}


def _metrics(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the page may rely on: speeds are positive numbers, and so on."""
    fitting = {k: v for k, v in line.items() if k not in METRICS or fits(v, METRICS[k])}
    return {k: v for k, v in fitting.items() if not k.endswith("_per_s") or _is_speed(v)}


def _is_speed(value: Any) -> bool:
    return fits(value, NUMBER) and 1e-9 < value < 1e15


def _evaluation(found: Mapping[str, Any]) -> Mapping[str, Any]:
    rows = {row: _result(result) for row, result in found["rows"].items()}
    return {**found, "rows": rows}


def _result(found: Mapping[str, Any]) -> Mapping[str, Any]:
    fitting = {k: v for k, v in found.items() if fits(v, RESULT.get(k, NUMBER))}
    return {k: v for k, v in fitting.items() if k != "interval" or len(v) == 2}


def _those_that_fit(found: Mapping[str, Any], shapes: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in found.items() if key in shapes and fits(value, shapes[key])}


def _object(path: Path) -> Mapping[str, Any]:
    try:
        value = read_json(path)
    except UserError:
        return {}
    return value if isinstance(value, dict) else {}


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        value = parsed_json(text, "a line")
    except UserError:
        return {}
    return value if isinstance(value, dict) else {}
