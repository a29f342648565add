"""What this machine has to train with."""

from __future__ import annotations

import os

import jax

from ssl_jax.recipe.automatic import GIB, Machine

_UNKNOWN = 16 * GIB  # of an accelerator that does not say


def this_machine() -> Machine:
    """Its devices, of all processes of a run, and what one of them may use. Starts jax."""
    device = jax.devices()[0]
    return Machine(device.platform, device.device_kind, jax.device_count(), _memory(jax.local_devices()[0]), _cores())


def _memory(device: jax.Device) -> int:
    """Bytes that programs may use on a device; CPU devices share those of the machine."""
    if device.platform == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // jax.local_device_count()
    return int((device.memory_stats() or {}).get("bytes_limit", _UNKNOWN))


def _cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))
