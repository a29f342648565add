"""Pickled weights (.pth, .pt, .bin): torch reads them, without running what they hold, in a process of its own. We never do."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ssl_jax.errors import UserError

PICKLED = (".pth", ".pt", ".bin", ".tar", ".ckpt")
SCRIPT = Path(__file__).with_name("torch_weights.py")
SECONDS = 600


def unpickled(path: Path) -> dict[str, np.ndarray]:
    """Tensors by name; what is nested has names joined by dots. UserError without torch, and for what it refuses."""
    if find_spec("torch") is None:
        raise UserError(
            f"{path} is pickled, which may run any code when it is read; only torch's own reader of weights alone is used for "
            "it, and torch is not installed. pip install torch, or name a .safetensors file of the same weights"
        )
    with tempfile.TemporaryDirectory(prefix="ssl-jax-") as place:
        made = Path(place) / "weights.safetensors"
        _run(path, made)
        from safetensors.numpy import load_file

        return load_file(made)


def _run(path: Path, made: Path) -> None:
    command = [sys.executable, "-P", str(SCRIPT), os.path.abspath(path), str(made)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{path} was not read within {SECONDS} s; convert it to safetensors where it was made"
        ) from None
    if done.returncode:
        why = done.stderr.strip().rpartition("\n")[2][:300] or f"exit code {done.returncode}"
        raise UserError(
            f"{path} is refused by torch's reader of weights: {why}; name a .safetensors file of the same weights"
        )
