"""`ssl-jax plan`: estimate, compile, and where it does not fit, look for the cheapest remedy and compile that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_jax.devices.compiler import compiling_for
from ssl_jax.errors import UserError
from ssl_jax.plan.aot import compile_step, compiler_for
from ssl_jax.plan.chips import Target
from ssl_jax.plan.estimate import Estimate, estimate
from ssl_jax.plan.problem import Problem, problem
from ssl_jax.plan.remedy import Remedy, remedies
from ssl_jax.plan.report import Plan, as_json, fits, peak_of
from ssl_jax.plan.roofline import WORLD, Site
from ssl_jax.recipe import to_json

SKIPPED: Mapping[str, Any] = {"status": "skipped"}
TRIES = 2  # remedies that are compiled


def make_plan(
    config: Mapping[str, Any],
    allow: tuple[str, ...],
    target: Target,
    *,
    compiling: bool = True,
    auditing: bool = False,
    price: float | None = None,
    site: Site = WORLD,
) -> Plan:
    """The plan of a recipe on a target. UserError where batch, mesh or patches do not divide, and where there is no program
    of the target's own compiler to audit.
    """
    compiler = compiler_for(target) if compiling else "cpu"
    if auditing and compiler == "cpu":
        raise UserError(
            f"--audit reads the program that the compiler of {target.chip.name} makes, and that is "
            f"{'not installed: pip install ssl_jax[' + target.chip.platform + ']' if compiling else 'left out by --no-compile'}"
        )
    posed = problem(config, allow)
    found: list[tuple[Remedy, Mapping[str, Any]]] = []
    with compiling_for(target.chip.jax_platform):
        made = estimate(posed, target.count)
        done = _compiled(posed, target, compiler, auditing) if compiling else SKIPPED
        peak = peak_of(done, compiler, made.peak)
        if peak is not None and not fits(peak, target):
            found = _remedied(posed, made, target, compiler, max(1.0, peak / made.peak))
    return Plan(posed, target, made, compiler, done, tuple(found), price, site)


def write(plan: Plan, path: Path) -> None:
    """The plan as JSON."""
    path.write_text(json.dumps(as_json(plan), indent=1) + "\n")


def _compiled(posed: Problem, target: Target, compiler: str, audited: bool = False) -> dict[str, Any]:
    return compile_step(json.loads(to_json(posed.config)), posed.allow, target, compiler, audited=audited)


def _remedied(
    posed: Problem, made: Estimate, target: Target, compiler: str, correction: float
) -> list[tuple[Remedy, Mapping[str, Any]]]:
    """The cheapest remedy that fits when compiled, after those that were tried and did not."""
    found: list[tuple[Remedy, Mapping[str, Any]]] = []
    for remedy in remedies(posed, made, target, correction, TRIES):
        answer = SKIPPED if compiler == "cpu" else _compiled(posed.changed(remedy.changes), target, compiler)
        found.append((remedy, answer))
        if fits(peak_of(answer, compiler, remedy.peak), target):
            break
    return found
