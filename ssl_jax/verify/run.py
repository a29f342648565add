"""`ssl-jax verify`: run the checks on a recipe, show a table, write JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax

from ssl_jax import __version__
from ssl_jax.errors import UserError
from ssl_jax.recipe import parse, plain
from ssl_jax.verify.checks import CHECKS, FAIL, Check, Outcome, checked
from ssl_jax.verify.subject import subject

ROWS = 4  # examples on each device, unless the user says otherwise


@dataclass(frozen=True)
class Report:
    """What was checked, on what, and how it came out."""

    outcomes: dict[str, Outcome]
    batch_size: int
    devices: int
    kind: str

    @property
    def passed(self) -> bool:
        """Whether no check failed; refusals and what does not apply are not failures."""
        return all(o.status != FAIL for o in self.outcomes.values())


def verify(
    config: Mapping[str, Any],
    allow: tuple[str, ...] = (),
    batch_size: int | None = None,
    checks: Sequence[Check] = CHECKS,
    tell: Callable[[str], None] = lambda line: None,
) -> Report:
    """Run `checks` on a recipe over all devices of this process; `tell` hears each line of the table as it is known."""
    devices = tuple(jax.devices())
    rows = ROWS * len(devices) if batch_size is None else batch_size
    tested = subject(parse(config, allow), devices, rows)
    tell(f"{len(devices)} {devices[0].platform} devices, {rows} examples, float32")
    tell(f"{'check':<15}{'result':<16}{'measured':<35}{'limit':<10}")
    outcomes = {}
    with jax.default_matmul_precision("highest"):
        for check in checks:
            outcomes[check.name] = made = checked(check, tested)
            for line in table_rows(check.name, made):
                tell(line)
    return Report(outcomes, rows, len(devices), devices[0].device_kind)


def chosen(names: str | None) -> tuple[Check, ...]:
    """The checks that a comma-separated list names; all of them for None."""
    if names is None:
        return CHECKS
    known = {c.name: c for c in CHECKS}
    wanted = [n.strip() for n in names.split(",") if n.strip()]
    unknown = [n for n in wanted if n not in known]
    if unknown or not wanted:
        raise UserError(
            f"--checks {names}: there is no check {unknown[0] if unknown else ''!r}; known are {', '.join(known)}"
        )
    return tuple(known[n] for n in wanted)


def table_rows(name: str, made: Outcome) -> list[str]:
    """The lines of one check: a difference with its limit on each, then the note."""
    cells = [(f"{key} {value:.1e}", f"{made.limits[key]:.0e}") for key, value in made.measured.items()] or [("", "")]
    lines = [
        f"{name if at == 0 else '':<15}{made.status if at == 0 else '':<16}{cell:<35}{limit:<10}".rstrip()
        for at, (cell, limit) in enumerate(cells)
    ]
    return lines + [f"{'':<15}{line}" for line in made.note.splitlines()]


def write(report: Report, config: Mapping[str, Any], path: Path) -> None:
    """The report as JSON."""
    claims = {c.name: c.claim for c in CHECKS}
    rows = [{"name": k, "claim": claims.get(k, ""), **asdict(o)} for k, o in report.outcomes.items()]
    versions = {"ssl_jax": __version__, "jax": jax.__version__, "python": platform.python_version()}
    about = {
        "passed": report.passed, "checks": rows, "batch_size": report.batch_size, "devices": report.devices,
        "device_kind": report.kind, "versions": versions,
        "recipe": plain(config),
    }  # fmt: skip
    path.write_text(json.dumps(about, indent=1) + "\n")
