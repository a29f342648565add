"""Which recipe suits pictures and a machine, where the user names none: `ssl-jax train --data /photos --workdir runs/mine`.

SimCLR where pictures are few, since it needs no more than a convolutional network and learns from a thousand of them; DINO with a
ViT where there are many and an accelerator. What was chosen is a shipped recipe and overrides of it, each told with its reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ssl_jax.data.look import Look

GIB = 2**30


class Machine(NamedTuple):
    """What trains: jax's `platform` ("cpu", "gpu", "tpu"), `kind` and `count` of its devices, bytes that one may use, CPU cores."""

    platform: str
    kind: str
    count: int
    memory: int
    cores: int


@dataclass(frozen=True)
class Suited:
    """A shipped recipe for up to `most` pictures on a CPU, or on an accelerator.

    does: method and encoder in words. sides: squares that its views may be, of which the largest is taken that pictures fill.
    batch: examples a step. example: bytes that one takes while it is trained on at the largest side. passes: over few pictures,
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
    Suited("simclr_conv_folder", "SimCLR, small convolutional encoder", float("inf"), SMALL, 256, 4 << 20, 30, (6_000, 500_000)),
)  # fmt: skip
ON_ACCELERATOR = (
    Suited("simclr_resnet18_folder", "SimCLR, ResNet-18", 20_000, MIDDLE, 256, 60 << 20, 200, (50_000, 4_000_000)),
    Suited("simclr_resnet50_folder", "SimCLR, ResNet-50", 100_000, LARGE, 256, 200 << 20, 200, (50_000, 10_000_000)),
    Suited("dino_vits_folder", "DINO, ViT-S/16", float("inf"), LARGE, 256, 250 << 20, 100, (50_000, 30_000_000)),
)
_STEM = 64  # pixels up to which a ResNet's first layers keep the size


class Choice(NamedTuple):
    """A shipped recipe, overrides of it, and why: lines for the log."""

    recipe: str
    overrides: tuple[str, ...]
    reasons: tuple[str, ...]


def choose(pictures: Look, machine: Machine) -> Choice:
    """The recipe for these pictures on this machine, the same whenever it is asked."""
    suited = next(s for s in (ON_CPU if machine.platform == "cpu" else ON_ACCELERATOR) if pictures.count <= s.most)
    side = next((side for side in reversed(suited.sides) if side <= pictures.short), suited.sides[0])
    batch, examples = _batch(suited, side, pictures, machine), _examples(suited, pictures.count)
    settings = {
        "augment.size": side,
        "batch_size": batch,
        "total_examples": examples,
        "data.threads": min(max(machine.cores, 1), 16),
        "data.examples": None,
    }
    return Choice(suited.recipe, _overrides(settings | _of(suited, side, machine)), _reasons(suited, side, batch, examples, pictures, machine))  # fmt: skip


def _batch(suited: Suited, side: int, pictures: Look, machine: Machine) -> int:
    """A power of two for each device, as large as the method likes, memory allows and pictures are enough for four batches."""
    of_each = suited.example * (side / suited.sides[-1]) ** 2
    fits = 0.6 * machine.memory * machine.count / of_each
    most = max(8, min(suited.batch, fits, pictures.count / 4))
    return machine.count * max(1, 2 ** int(most / machine.count).bit_length() // 2)


def _examples(suited: Suited, count: int) -> int:
    return int(min(max(suited.passes * count, suited.examples[0]), suited.examples[1]))


def _of(suited: Suited, side: int, machine: Machine) -> dict[str, object]:
    """What else a recipe is changed in: numbers of 16 bits on accelerators, first layers for small pictures, small crops."""
    half = {"model.dtype": "bfloat16"} if machine.platform != "cpu" else {}
    stem = {"model.stem": "small"} if "resnet" in suited.recipe and side <= _STEM else {}
    local = {"augment.views.local.size": max(32, 16 * round(side * 96 / 224 / 16))} if "dino" in suited.recipe else {}
    return half | stem | local


def _overrides(settings: dict[str, object]) -> tuple[str, ...]:
    return tuple(f"--config.{key}={value}" for key, value in settings.items())


def _reasons(
    suited: Suited, side: int, batch: int, examples: int, pictures: Look, machine: Machine
) -> tuple[str, ...]:
    where = f"{machine.count} x {machine.kind}" if machine.platform != "cpu" else f"a CPU of {machine.cores} cores"
    passes = f"{examples / pictures.count:.3g} passes over them"
    return (
        f"chosen: {suited.does} ({suited.recipe}), for {pictures.count:,} pictures on {where} with "
        f"{machine.memory / GIB:.3g} GiB; --config NAME takes another, `ssl-jax recipes` lists them",
        f"chosen: views of {side} pixels, since pictures are about {pictures.short} on the short side; batches of {batch}; "
        f"{examples:,} examples, {passes}",
    )
