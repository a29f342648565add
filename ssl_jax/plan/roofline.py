"""Time, money and energy: what the chip cannot beat, computed, and what people usually reach, assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssl_jax.plan.chips import Chip, Target

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
class Site:
    """What is assumed of the place where chips run: energy drawn for each that chips use, and kg of CO2e for a kWh.

    About what large data centres draw, and the world's mean of electricity; both differ a lot between places.
    """

    pue: float = 1.2
    grid: float = 0.45

    def energy(self, chip: Chip, chip_hours: float) -> float:
        """kWh of that many hours of a chip at its full power. Hosts, networks and storage are not in it."""
        return chip_hours * chip.watts / 1000 * self.pue

    def carbon(self, energy: float) -> float:
        """kg of CO2e of `energy` kWh."""
        return energy * self.grid


WORLD = Site()


@dataclass(frozen=True)
class Cost:
    """A whole run at one model FLOP utilisation."""

    utilisation: float
    step: float  # seconds
    hours: float
    chip_hours: float
    money: float
    energy: float  # kWh
    carbon: float  # kg of CO2e


def costs(target: Target, model_flops: float, steps: int, price: float, floor: float, site: Site = WORLD) -> list[Cost]:
    """The run at each of `UTILISATIONS`, never faster than `floor` seconds a step; `price` is dollars per chip-hour."""
    made = []
    for share in UTILISATIONS:
        step = max(model_flops / target.count / (share * target.chip.peak), floor)
        hours = step * steps / HOURS
        chip_hours = hours * target.count
        energy = site.energy(target.chip, chip_hours)
        made.append(Cost(share, step, hours, chip_hours, chip_hours * price, energy, site.carbon(energy)))
    return made
