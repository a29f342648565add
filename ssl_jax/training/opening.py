"""What a run says before its first step: one plain line for each thing that decides something or takes its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import Any

import jax

Say = Callable[..., None]


def data(source: Any) -> str:
    """`data: 60,000 records of 10 classes (Embedded)`, and what the source has decided about them."""
    classes = len(getattr(source, "classes", ()))
    of = f" of {classes:,} classes" if classes else ""
    told = "".join(f"; {note}" for note in getattr(source, "notes", ()))
    return f"data: {len(source):,} records{of} ({type(source).__name__}){told}"


def pictures(place: str, by: Mapping[str, Any]) -> list[str]:
    """`pictures: cut on the host, JPEG decoded by simplejpeg 1.9.0, ...`, of `cropped.pictures_by`; nothing without any."""
    found = [f"{kind} by {library}" for kind, library in by.get("pictures", {}).items()]
    return [f"pictures: random crops are cut on the {place}; {', '.join(found)}"] if found or place == "host" else []


def devices(mesh: jax.sharding.Mesh) -> str:
    """`devices: 8 x NVIDIA H100, mesh data 4 x fsdp 2`; axes of a single device are left out."""
    kind = mesh.devices.flat[0].device_kind
    axes = " x ".join(f"{axis} {size}" for axis, size in mesh.shape.items() if size > 1)
    return f"devices: {mesh.size} x {kind}" + (f", mesh {axes}" if axes else "")


def parameters(params: Mapping[str, Any]) -> str:
    """`parameters: 1,500 (encoder 1,000, projector 500)`, of the arrays or shapes in `params`."""
    sizes = {name: sum(prod(leaf.shape) for leaf in jax.tree.leaves(part)) for name, part in params.items()}
    parts = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    return f"parameters: {sum(sizes.values()):,} ({parts})"


def frozen(extra: Mapping[str, Any]) -> str:
    """`; frozen: 85,000`, of what an objective keeps so; nothing where all parameters learn."""
    held = sum(prod(leaf.shape) for leaf in jax.tree.leaves(extra.get("frozen", {})))
    return f"; frozen: {held:,}" if held else ""


def plan(batch_size: int, total_steps: int, records: int) -> str:
    """`plan: 2,000 steps of 256 records, 8.5 epochs`."""
    return f"plan: {total_steps:,} steps of {batch_size:,} records, {total_steps * batch_size / records:.3g} epochs"


def program(steps: int) -> str:
    """What compiling the program of so many steps is called."""
    return "compiling the training step" if steps == 1 else f"compiling {steps} training steps as one program"


@contextmanager
def timed(say: Say, what: str) -> Iterator[None]:
    """Say that `what` begins, and when it is done how long it took."""
    say("%s ...", what)
    start = time.monotonic()
    yield
    say("%s: done in %.1f s", what, time.monotonic() - start)


def first_timed(say: Say, what: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, whose first use is `timed`: that is when jax compiles it."""
    waiting = [what]

    def told(*args: Any) -> Any:
        if not waiting:
            return call(*args)
        with timed(say, waiting.pop()):
            return call(*args)

    return told
