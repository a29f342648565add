"""Libraries that make things faster where they are installed."""

from __future__ import annotations

import functools
import importlib
from contextlib import suppress
from importlib import metadata
from typing import Any


@functools.cache
def optional(module: str) -> Any:
    """A module, or None where it is not installed."""
    with suppress(ImportError):
        return importlib.import_module(module)
    return None


def versioned(package: str) -> str:
    """A package's name with its version, for people."""
    return f"{package} {metadata.version(package)}"
