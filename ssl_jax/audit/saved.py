"""`audit.json` and `audit.html` in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ssl_jax.audit.named import Named
from ssl_jax.audit.page import page
from ssl_jax.rundir.writing import replace_file, written


def save(result: Mapping[str, Any], sources: Mapping[str, Named], folder: Path, key: str = "image") -> Path:
    """Write both; returns the page. UserError where they cannot be written: they lie in a temporary folder then."""
    content = {"audit.json": json.dumps(result, indent=1, allow_nan=False) + "\n", "audit.html": page(result, sources, key)}
    return written(partial(write, content), folder) / "audit.html"


def write(content: Mapping[str, str], folder: Path) -> Path:
    """Files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        replace_file(folder / name, text.encode("utf-8", "replace"))
    return folder
