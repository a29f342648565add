"""The accelerator at hand: what it is, and what it reaches at its best. No names of hosts, no paths."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ssl_jax.benchmark.timing import summary, timed
from ssl_jax.plan.chips import CHIPS, Chip
from ssl_jax.plan.roofline import Roofline

PACKAGES = ("ssl_jax", "jax", "jaxlib", "flax", "optax", "numpy")
SIZES = {"cpu": (1024, 2**28)}  # side of the matrices, bytes of the array that is copied: more than caches hold
ACCELERATOR = (8192, 2**31)


@dataclass(frozen=True)
class Machine:
    """Devices of one kind and the rates measured on one of them.

    clock: by which clock rates count: `cpu` (processor seconds, since wall time on a shared CPU says little) or `wall`.
    matmul: FLOP/s of a large square product in `dtype`. copy: bytes/s, read and written.
    datasheet: the chip in `ssl_jax.plan.chips`, if it is one of those: its peak is in bfloat16.
    """

    platform: str
    kind: str
    count: int
    dtype: str
    clock: str
    matmul: float
    copy: float
    datasheet: Chip | None = None

    @property
    def peak(self) -> float:
        """FLOP/s of one device that utilisation refers to: the data sheet's in bfloat16 where there is one, else measured."""
        return self.datasheet.peak if self.datasheet and self.dtype == "bfloat16" else self.matmul

    @property
    def peak_source(self) -> str:
        """Where `peak` comes from."""
        return "data sheet" if self.datasheet and self.dtype == "bfloat16" else "measured matrix product"

    def utilisation(self, flops: float, seconds: float) -> float:
        """The share of the peak of all devices that `flops` in `seconds` are."""
        return flops / seconds / (self.peak * self.count)

    def roofline(self, flops: float, size: float) -> Roofline:
        """The least seconds for `flops` and `size` bytes of memory traffic, both over all devices, at measured rates."""
        return Roofline(flops / (self.matmul * self.count), 0.0, size / (self.copy * self.count))


def measure_machine(dtype: str) -> Machine:
    """The devices of this process, with the rates of the first."""
    device = jax.devices()[0]
    clock = "cpu" if device.platform == "cpu" else "wall"
    side, size = SIZES.get(device.platform, ACCELERATOR)
    a = jax.random.normal(jax.random.key(0), (side, side)).astype(dtype)
    product, halved = jax.jit(jnp.matmul), jax.jit(lambda x: x / 2, donate_argnums=0)
    held = [jnp.ones(size // 4, jnp.float32)]

    def copied() -> jax.Array:
        held[0] = halved(held[0])  # in place: new memory costs the operating system's time
        return held[0]

    matmul = 2 * side**3 / _seconds(lambda: product(a, a), clock)
    copy = 2 * size / _seconds(copied, clock)
    count = jax.device_count()
    return Machine(
        device.platform, device.device_kind, count, dtype, clock, matmul, copy, datasheet(device.device_kind)
    )


def datasheet(kind: str) -> Chip | None:
    """The chip that a device kind names, by the numbers and letters in it: "NVIDIA H100 80GB HBM3" -> h100."""
    squeezed = kind.lower().replace(" ", "").replace("lite", "e").replace("tpu", "")
    return next((chip for name, chip in CHIPS.items() if name in squeezed), None)


def description(machine: Machine) -> dict[str, Any]:
    """Date, versions and hardware, for the head of a JSON file."""
    versions = {name: metadata.version(name) for name in PACKAGES if _installed(name)}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions | {"python": platform.python_version()},
        "hardware": {
            "platform": machine.platform, "kind": machine.kind, "devices": machine.count, "processor": processor(),
            "dtype": machine.dtype, "clock": machine.clock, "matmul_flops_per_second": machine.matmul,
            "copy_bytes_per_second": machine.copy, "peak_flops_per_second": machine.peak, "peak_from": machine.peak_source,
        },
    }  # fmt: skip


def processor() -> str:
    """The CPU's model and its widest vector instructions, as far as Linux says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    facts: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    widest = next((f for f in ("avx512f", "avx2", "avx") if f in facts.get("flags", "").split()), "")
    return f"{facts.get('model name', platform.machine())} {widest}".strip()


def _seconds(call: Callable[[], jax.Array], clock: str) -> float:
    """The median of several calls; not the least, since a clock of processor time sometimes leaves out a part."""
    call().block_until_ready()  # compile
    return summary([timed(lambda: call().block_until_ready()) for _ in range(7)])[clock]["median"]


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
