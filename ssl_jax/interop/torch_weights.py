"""Run as a script, in a process of its own: a pickled file's tensors, by torch's `weights_only` loader, to safetensors."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from safetensors.numpy import save_file

SPARE = 16 << 30  # bytes beside the weights themselves, which torch and a copy need


def tensors_in(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor in dicts, at any depth, under the keys that lead there."""
    if torch.is_tensor(value):
        yield name, value.detach().float().contiguous().numpy()
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from tensors_in(part, f"{name}.{key}" if name else str(key))


if __name__ == "__main__":
    source, made = sys.argv[1:]
    most = 8 * os.path.getsize(source) + SPARE
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    save_file(dict(tensors_in(torch.load(source, map_location="cpu", weights_only=True))), made)
