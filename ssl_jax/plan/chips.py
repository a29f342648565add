"""Accelerators as numbers, and the slices that `ssl-jax plan` can be asked about.

`hbm_gib` was found by provoking the TPU compiler's out-of-memory message (libtpu 0.0.42); for GPUs it is 90 % of the device,
what `XLA_PYTHON_CLIENT_MEM_FRACTION=.9` gives. Peak rates and bandwidths are those of public data sheets; prices are
on-demand list prices that change: both are assumptions, and every table that uses them says so. Power of GPUs is the data
sheet's, of v4 what Jouppi et al. 2023 (arXiv 2304.01433) measured at most; later TPUs have none that is
published: it is a guess.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ssl_jax.errors import UserError

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One JAX device of a kind. Rates per second, one way for links; `price` in dollars an hour, `watts` of the chip alone.

    `link` joins devices of one slice or node, `outer` those of different slices or nodes. `scale_up` is how many devices
    share the fast link (0: a whole slice).
    """

    name: str
    platform: str  # tpu | cuda
    peak: float  # dense bfloat16 FLOP/s
    hbm_gib: float  # what a program may use
    bandwidth: float  # of HBM, bytes/s
    link: float
    outer: float
    price: float
    watts: float
    scale_up: int = 0
    dimensions: int = 0  # of a TPU slice

    def rate(self, dtype: str) -> float:
        """FLOP/s of products of numbers of this kind, at the precision that jax has by default.

        TPUs multiply float32 in one pass of bfloat16, GPUs in TF32, at half the rate.
        """
        narrow = dtype in ("bf16", "f16", "s8", "u8") or self.platform == "tpu"
        return self.peak if narrow else self.peak / 2 if dtype == "f32" else self.peak / 16

    @property
    def jax_platform(self) -> str:
        """What `jax.default_backend()` would say on it."""
        return "gpu" if self.platform == "cuda" else self.platform


CHIPS = {
    c.name: c
    for c in (
        Chip("v4", "tpu", 275e12, 30.75, 1.23e12, 300e9, 6e9, 3.22, 192, dimensions=3),
        Chip("v5e", "tpu", 197e12, 15.75, 0.82e12, 200e9, 6e9, 1.20, 200, dimensions=2),
        Chip("v5p", "tpu", 459e12, 95.74, 2.77e12, 600e9, 6e9, 4.20, 450, dimensions=3),
        Chip("v6e", "tpu", 918e12, 31.25, 1.64e12, 400e9, 12e9, 2.70, 300, dimensions=2),
        Chip("a100", "cuda", 312e12, 72.0, 2.04e12, 300e9, 25e9, 1.80, 400, scale_up=8),
        Chip("h100", "cuda", 989e12, 71.2, 3.35e12, 450e9, 50e9, 3.00, 700, scale_up=8),
        Chip("h200", "cuda", 989e12, 125.8, 4.80e12, 450e9, 50e9, 3.50, 700, scale_up=8),
    )
}
FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")  # what can be had of v5e and v6e
SMALL_CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4")  # of v4 and v5p; larger ones have sides that are multiples of 4


@dataclass(frozen=True)
class Target:
    """Devices to plan for: `count` in all, of `slices` slices (TPU) of shape `shape`."""

    chip: Chip
    count: int
    shape: str = ""
    slices: int = 1

    @property
    def title(self) -> str:
        """How people write it: `v5e:16x16`, `2 x v5p:8x8x8`, `256 x h100`."""
        if not self.shape:
            return f"{self.count} x {self.chip.name}"
        return (f"{self.slices} x " if self.slices > 1 else "") + f"{self.chip.name}:{self.shape}"

    @property
    def hosts(self) -> int:
        """Nodes of GPUs, eight to a node."""
        return max(1, self.count // (self.chip.scale_up or self.count))


def parse_target(
    topology: str | None = None, devices: int | None = None, chip: str | None = None, slices: int = 1
) -> Target:
    """`--topology v5e:16x16`, or `--devices 256 --chip h100` (the default chip).

    Raises UserError for unknown chips and for shapes that nobody can rent: the compiler would accept those.
    """
    if slices < 1:
        raise UserError(f"--slices {slices}: must be 1 or more")
    if devices is not None and topology is None:
        return _gpus(devices, chip or "h100", slices)
    if devices is not None or topology is None:
        raise UserError("say what to plan for: --topology v5e:16x16, or --devices 256 --chip h100")
    match = re.fullmatch(r"(\w+):(\d+(?:x\d+)*)", topology)
    if chip is not None or not match:
        raise UserError(f"--topology {topology}: write KIND:SHAPE, e.g. v5e:16x16 or v5p:8x8x8, without --chip")
    made = _chip(match[1], "tpu")
    _check_shape(made, match[2])
    return Target(made, math.prod(map(int, match[2].split("x"))) * slices, match[2], slices)


def _gpus(devices: int, name: str, slices: int) -> Target:
    chip = _chip(name, "cuda")
    if slices != 1:
        raise UserError("--slices is for --topology; GPUs are counted with --devices")
    if devices < 1 or (devices > chip.scale_up and devices % chip.scale_up):
        raise UserError(
            f"--devices {devices}: {chip.name} nodes have {chip.scale_up}; use a multiple, or fewer than one node"
        )
    return Target(chip, devices)


def _chip(name: str, platform: str) -> Chip:
    known = [c.name for c in CHIPS.values() if c.platform == platform]
    if name not in known:
        flag = "--topology" if platform == "tpu" else "--chip"
        raise UserError(f"{flag} {name}: unknown kind; known are {', '.join(known)}")
    return CHIPS[name]


def _check_shape(chip: Chip, shape: str) -> None:
    sides = [int(s) for s in shape.split("x")]
    if chip.dimensions == 2 and shape not in FLAT:
        raise UserError(f"{chip.name}:{shape} cannot be had; slices are {', '.join(FLAT)}")
    cube = len(sides) == 3 and all(s > 0 and s % 4 == 0 for s in sides) and sides == sorted(sides)
    if chip.dimensions == 3 and not cube and shape not in SMALL_CUBES:
        raise UserError(
            f"{chip.name}:{shape} cannot be had; slices are {', '.join(SMALL_CUBES)}, and three ascending multiples of 4"
        )


def gpu_description(chip: Chip) -> str:
    """XLA's description of a GPU as a text proto, from the vendor's numbers: compiling for it needs no such GPU."""
    major, cores, shared, clock, l2, memory, name = {
        "a100": (8, 108, 166912, 1.41, 41943040, 85097971712, "NVIDIA A100-SXM4-80GB"),
        "h100": (9, 132, 232448, 1.98, 52428800, 84978434048, "NVIDIA H100 80GB HBM3"),
        "h200": (9, 132, 232448, 1.98, 52428800, 150109880320, "NVIDIA H200"),
    }[chip.name]
    device = {
        "threads_per_block_limit": 1024, "threads_per_warp": 32, "threads_per_core_limit": 2048,
        "shared_memory_per_block": 49152, "shared_memory_per_block_optin": shared, "shared_memory_per_core": shared + 1024,
        "registers_per_core_limit": 65536, "registers_per_block_limit": 65536, "core_count": cores,
        "fpus_per_core": 128 if major == 9 else 64,
        "block_dim_limit_x": 2**31 - 1, "block_dim_limit_y": 65535, "block_dim_limit_z": 65535, "clock_rate_ghz": clock,
        "l2_cache_size": l2, "memory_bandwidth": int(chip.bandwidth), "device_memory_size": memory,
    }  # fmt: skip
    lines = "".join(f"  {k}: {v}\n" for k, v in device.items())
    return (
        f"gpu_device_info {{\n{lines}  cuda_compute_capability {{ major: {major} }}\n}}\n"
        f'platform_name: "CUDA"\ndnn_version_info {{ major: 9 minor: 10 patch: 2 }}\ndevice_description_str: "{name}"\n'
    )
