"""What the C library does with the memory that a step frees."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
from importlib import metadata

# Options of <malloc.h> and what each is set to: blocks of any size lie on the heap, the heap never shrinks, and there is
# one for all threads, since any of XLA's may run the next step.
KEEP = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, -1), "M_ARENA_MAX": (-8, 1)}


def keep_freed_memory() -> bool:
    """Where jax will run on the CPU, let this process keep what it frees. Call it before jax starts. Returns whether it does.

    XLA's CPU backend allocates the temporaries of a step anew at each call. By default glibc gives large blocks back to the
    system at once, which then clears every page for the next step: a quarter of the time of a small ViT. Other C libraries
    are left as they are, and so is a host that feeds an accelerator, whose arrays do not live there.
    """
    if platform.libc_ver()[0] != "glibc" or not on_cpu():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(option, value) == 1 for option, value in KEEP.values())


def on_cpu() -> bool:
    """Whether jax will run on the CPU: `JAX_PLATFORMS` says so, or nothing else is installed. Looks, and imports nothing."""
    if platforms := os.environ.get("JAX_PLATFORMS"):
        return platforms == "cpu"
    plugins = importlib.util.find_spec("libtpu") or importlib.util.find_spec("jax_plugins")
    return not plugins and not metadata.entry_points(group="jax_plugins")
