"""What `ssl-jax data prepare` writes beside the files that it made: where they come from, and the names of the classes."""

from __future__ import annotations

import json
import os
from typing import Any

from ssl_jax.data import files

NAME = "manifest.json"
FORMAT = "ssl_jax prepared 1"
_MOST = 64 << 20


def read(folder: str | os.PathLike[str], form: str = FORMAT) -> dict[str, Any]:
    """The manifest of a format in a folder; {} where there is none, or another file of that name."""
    try:
        said = json.loads(files.read(os.path.join(folder, NAME), _MOST))
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) and said.get("format") == form else {}


def classes_beside(path: str) -> tuple[str, ...]:
    """The names of the classes of a file that was prepared; () where nothing says them."""
    names = read(os.path.dirname(path)).get("classes")
    return tuple(map(str, names)) if isinstance(names, list) else ()
