"""What older recipes and run directories say, in today's words: classes that moved, keys that came later."""

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

# Key that came later -> what runs without it did. A line stays for as long as runs may lack the key.
ADDED = {
    "data.crop": "device",
    "data.drop_last": False,
    "data.resize": "antialias",
    "data.workers": 0,
    "evaluate.cache_gib": 8.0,
    "evaluate.label": "label",
    "health.action": "none",
    "health.noise_parts": 0,
    "health.views": 0,
    "init_from.weights": "",
    "init_from.module": "encoder",
    "init_from.partial": False,
    "init_from.download": False,
    "init_from.towers": (),
    "log.mlflow": False,
    "log.wandb": False,
    "optimizer.options": None,
    "phases": (),
    "schedule.count_from": 0,
    "schedule.options": None,
}


def with_added_keys(config: dict[str, Any]) -> dict[str, Any]:
    """A whole plain recipe in which every key of `ADDED` is said; its section may be younger than the recipe."""
    full = {key: dict(value) if isinstance(value, dict) else value for key, value in config.items()}
    for path, value in ADDED.items():
        section, _, key = path.rpartition(".")
        place = full.setdefault(section, {}) if section else full
        if isinstance(place, dict):
            place.setdefault(key, value)
    return full


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
