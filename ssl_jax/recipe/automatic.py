"""Which recipe suits pictures and a machine, where the user names none: `ssl-jax train --data /photos --workdir runs/mine`.

SimCLR where pictures are few, since it needs no more than a convolutional network and learns from a thousand of them; DINO with a
ViT where there are many and an accelerator. What was chosen is a shipped recipe and overrides of it, each told with its reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from ssl_jax.data.look import Look
from ssl_jax.errors import UserError

GIB = 2**30


class Machine(NamedTuple):
    """What trains: jax's `platform` ("cpu", "gpu", "tpu"), so many `devices` of a `kind` with `memory` bytes each, CPU cores."""

    platform: str
    kind: str
    devices: int
    memory: int
    cores: int

    def __str__(self) -> str:
        what = f"a CPU of {self.cores} cores" if self.platform == "cpu" else f"{self.devices} x {self.kind}"
        return f"{what} with {self.memory / GIB:.3g} GiB"


@dataclass(frozen=True)
class Suited:
    """A shipped recipe for up to `most` pictures on a CPU, or on an accelerator.

    does: method and encoder in words. sides: squares that its views may be, of which the largest is taken that pictures fill.
    batch: examples a step. example: bytes that one takes at the largest side (`ssl-jax plan`). passes: over few pictures,
    `examples` in all at the least and at the most.
    """

    recipe: str
    does: str
    most: float
    sides: tuple[int, ...]
    batch: int
    example: int
    passes: int
    examples: tuple[int, int]


SMALL, MIDDLE, LARGE = (32, 48, 64), (32, 48, 64, 96, 128), (96, 128, 160, 192, 224)
ON_CPU = (
    Suited("simclr_conv_folder", "SimCLR, small convolutional encoder", float("inf"), SMALL, 256, 1 << 20, 30, (6_000, 500_000)),
)  # fmt: skip
ON_ACCELERATOR = (
    Suited("simclr_resnet18_folder", "SimCLR, ResNet-18", 20_000, MIDDLE, 256, 8 << 20, 200, (50_000, 4_000_000)),
    Suited("simclr_resnet50_folder", "SimCLR, ResNet-50", 100_000, LARGE, 256, 80 << 20, 200, (50_000, 10_000_000)),
    Suited("dino_vits_folder", "DINO, ViT-S/16", float("inf"), LARGE, 256, 20 << 20, 100, (50_000, 30_000_000)),
)
FEWEST = 16
_STEM = 64  # pixels up to which a ResNet's first layers keep the size


class Sizes(NamedTuple):
    """Pixels on a side of the views, examples a step, and examples in all."""

    side: int
    batch: int
    examples: int


class Choice(NamedTuple):
    """A shipped recipe, overrides of it, and why: lines for the log."""

    recipe: str
    overrides: tuple[str, ...]
    reasons: tuple[str, ...]


def choose(pictures: Look, machine: Machine) -> Choice:
    """The recipe for these pictures on this machine, the same whenever it is asked. UserError for fewer than 16."""
    if pictures.count < FEWEST:
        raise UserError(
            f"{pictures.count} pictures are too few to learn from; name {FEWEST} at least, or a recipe with --config"
        )
    suited = next(s for s in (ON_CPU if machine.platform == "cpu" else ON_ACCELERATOR) if pictures.count <= s.most)
    sizes = _sizes(suited, pictures, machine)
    overrides = tuple(f"--config.{key}={value}" for key, value in _settings(suited, sizes, machine).items())
    return Choice(suited.recipe, overrides, _reasons(suited, sizes, pictures, machine))


def _sizes(suited: Suited, pictures: Look, machine: Machine) -> Sizes:
    side = next((side for side in reversed(suited.sides) if side <= pictures.short), suited.sides[0])
    fewest, most = suited.examples
    examples = min(max(suited.passes * pictures.count, fewest), most)
    return Sizes(side, _batch(suited, side, pictures, machine), examples)


def _batch(suited: Suited, side: int, pictures: Look, machine: Machine) -> int:
    """A power of two for each device, as large as the method likes, memory allows, and four batches of the pictures allow."""
    example = suited.example * (side / suited.sides[-1]) ** 2
    fits = machine.memory * machine.devices / 2 / example
    each = max(8, min(suited.batch, fits, pictures.count / 4)) / machine.devices
    return machine.devices * 2 ** max(0, math.floor(math.log2(each)))


def _settings(suited: Suited, sizes: Sizes, machine: Machine) -> dict[str, Any]:
    """What the recipe is changed in: sizes, 16-bit numbers on accelerators, first layers for small pictures, small crops."""
    found: dict[str, Any] = {"augment.size": sizes.side, "batch_size": sizes.batch, "total_examples": sizes.examples}
    found["data.threads"] = min(machine.cores, 16)
    if machine.platform != "cpu":
        found["model.dtype"] = "bfloat16"
    if "resnet" in suited.recipe and sizes.side <= _STEM:
        found["model.stem"] = "small"
    if "dino" in suited.recipe:
        found["augment.views.local.size"] = max(32, 16 * round(sizes.side * 96 / 224 / 16))
    return found


def _reasons(suited: Suited, sizes: Sizes, pictures: Look, machine: Machine) -> tuple[str, ...]:
    passes = sizes.examples / pictures.count
    return (
        f"chosen: {suited.does} ({suited.recipe}), for {pictures.count:,} pictures on {machine}; "
        f"--config NAME takes another, `ssl-jax recipes` lists them",
        f"chosen: views of {sizes.side} pixels, since pictures are about {pictures.short} on the short side; "
        f"batches of {sizes.batch}; {sizes.examples:,} examples, {passes:.3g} passes over the pictures",
    )
