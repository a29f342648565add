"""CPU devices that a command pretends to have."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import Namespace

from ssl_jax.errors import UserError


def pretend_cpu_devices(count: int) -> None:
    """Let jax, which has not started yet, have `count` CPU devices and nothing else."""
    if count < 1:
        raise UserError(f"--cpu-devices {count}: must be 1 or more")
    os.environ["JAX_PLATFORMS"] = "cpu"
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={count}".strip()


def again_on_cpu_devices(arguments: Namespace, count: int) -> int:
    """The same command in a child process that pretends to have `count` CPU devices; its exit code."""
    command = [sys.executable, "-m", "ssl_jax", *arguments.words, "--cpu-devices", str(count)]
    return subprocess.run(command, check=False).returncode
