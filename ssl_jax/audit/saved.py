"""What was found, as files in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ssl_jax.rundir.writing import replace_file, written


def in_folder(content: Mapping[str, str], folder: Path) -> Path:
    """Write texts by the names of their files. UserError where that is impossible: they lie in a temporary folder then."""
    return written(partial(_write, content), folder)


def json_of(result: Mapping[str, Any]) -> str:
    """Plain data as a JSON file."""
    return json.dumps(result, indent=1, allow_nan=False) + "\n"


def _write(content: Mapping[str, str], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        replace_file(folder / name, text.encode("utf-8", "replace"))
    return folder
