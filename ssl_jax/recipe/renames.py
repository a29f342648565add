"""Where classes have moved to since recipes and run directories first named them."""

from __future__ import annotations

from typing import Any

# Module that an older recipe or config.json names -> module of today. A line stays for as long as runs may hold it.
MOVED = {
    "ssl_jax.data.arrays": "ssl_jax.data.sources",
    "ssl_jax.data.augment": "ssl_jax.data.image.views",
    "ssl_jax.data.embedded": "ssl_jax.data.sources",
    "ssl_jax.data.folder": "ssl_jax.data.sources",
    "ssl_jax.data.idx": "ssl_jax.data.sources",
    "ssl_jax.data.pixel_control": "ssl_jax.data.sources",
    "ssl_jax.data.prepared": "ssl_jax.data.sources",
}


def renamed(value: Any) -> Any:
    """A plain recipe in which every `target`, at any depth, names the module of today."""
    if isinstance(value, dict):
        return {k: _target(v) if k == "target" else renamed(v) for k, v in value.items()}
    return tuple(renamed(v) for v in value) if isinstance(value, tuple) else value


def _target(target: Any) -> Any:
    if not isinstance(target, str):
        return target
    module, colon, name = target.partition(":")
    return MOVED.get(module, module) + colon + name
