"""Time and money: what the chip cannot beat, computed, and what people usually reach, assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssl_jax.plan.chips import Target

# Public code for self-supervised pretraining reaches 10 to 25 % of peak, tuned code up to half.
UTILISATIONS = (0.15, 0.30, 0.50)
HOURS = 3600.0


@dataclass(frozen=True)
class Roofline:
    """Seconds of a step that each resource alone needs, at its full rate."""

    compute: float
    network: float
    memory: float  # reading and writing the state once; activations come on top

    @property
    def floor(self) -> float:
        """Perfect overlap of everything: no step is faster."""
        return max(self.compute, self.network, self.memory)

    @property
    def serial(self) -> float:
        """No overlap, full rates: no upper bound, since nothing runs at full rate."""
        return self.compute + self.network + self.memory

    @property
    def bound(self) -> str:
        """The resource that sets the floor."""
        return max(("compute", self.compute), ("network", self.network), ("memory", self.memory), key=lambda x: x[1])[0]


def roofline(target: Target, flops: float, wire: Sequence[Mapping[str, Any]], state: int) -> Roofline:
    """The floor of a step of `flops` over all devices that sends `wire` (see `collectives`), with `state` bytes per device."""
    chip = target.chip
    network = sum(c["wire"] / link(target, c["group"]) for c in wire)
    return Roofline(flops / target.count / chip.peak, network, 2 * state / chip.bandwidth)


def link(target: Target, group: int) -> float:
    """Bytes per second and device that a ring over `group` devices can carry: its slowest link."""
    fast = target.chip.scale_up or target.count // target.slices
    return target.chip.link if group <= fast else target.chip.outer


@dataclass(frozen=True)
class Cost:
    """A whole run at one model FLOP utilisation."""

    utilisation: float
    step: float  # seconds
    hours: float
    chip_hours: float
    money: float


def costs(target: Target, model_flops: float, steps: int, price: float, floor: float) -> list[Cost]:
    """The run at each of `UTILISATIONS`, never faster than `floor` seconds a step; `price` is dollars per chip-hour."""
    made = []
    for share in UTILISATIONS:
        step = max(model_flops / target.count / (share * target.chip.peak), floor)
        hours = step * steps / HOURS
        made.append(Cost(share, step, hours, hours * target.count, hours * target.count * price))
    return made
