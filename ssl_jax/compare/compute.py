"""What runs cost: FLOPs as `ssl-jax plan` counts them, or else the time that their devices spent in steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssl_jax.compare.runs import Group, Run
from ssl_jax.errors import UserError


@dataclass(frozen=True)
class Compute:
    """One unit for all runs: `flops` of an example by group, or None, where it is device-seconds; `why` it is these."""

    flops: Mapping[str, float] | None
    why: str

    @property
    def unit(self) -> str:
        """Of what `spent` returns."""
        return "device-seconds" if self.flops is None else "FLOPs"

    def spent(self, group: Group, run: Run, steps: np.ndarray) -> np.ndarray:
        """Compute up to each of `steps` [n]; NaN where it is not known."""
        if self.flops is not None:
            return np.asarray(steps, np.float64) * run.batch * self.flops[group.name]
        return _seconds(run, steps) * run.devices


def compute(groups: Sequence[Group], allow: tuple[str, ...] = ()) -> Compute:
    """FLOPs where those of every recipe can be counted here, and the recorded time where not."""
    from ssl_jax.plan.work import flops_per_example

    try:
        known = {group.name: flops_per_example(group.first.record.config, allow) for group in groups}
    except UserError as error:
        reason = str(error).splitlines()[0]
        return Compute(
            None, f"seconds in training steps times devices, as logged, since FLOPs are not known here: {reason}"
        )
    return Compute(
        known, "FLOPs of the step as written, forward and backward, without recomputation, as `ssl-jax plan` counts"
    )


def _seconds(run: Run, steps: np.ndarray) -> np.ndarray:
    """Seconds in steps up to each of `steps`, by the speed on each line of metrics."""
    ends, lasted = _times(run.record.training, run.batch)
    if not len(ends):
        return np.full(len(steps), np.nan)
    return np.interp(steps, [0, *ends], [0.0, *np.cumsum(lasted)])


def _times(lines: Sequence[Mapping[str, Any]], batch: int) -> tuple[list[int], list[float]]:
    known = [(line["step"], line["examples_per_s"]) for line in lines if line.get("examples_per_s")]
    before = [0, *(step for step, _ in known)]
    lasted = [(step - start) * batch / speed for (step, speed), start in zip(known, before, strict=False)]
    return [step for step, _ in known], lasted
