"""Self-supervised pretraining in JAX: objectives, sharded training, honest evaluation.

encode = ssl_jax.load("runs/x")
features = encode(images)
"""

from __future__ import annotations

from typing import Any

from ssl_jax.devices.compiler import avoid_wrong_reductions

__version__ = "0.1.0"

avoid_wrong_reductions()  # must come before jax starts its CPU backend


def __getattr__(name: str) -> Any:
    """`ssl_jax.load`, which is imported when it is asked for: to import the package costs nothing."""
    if name == "load":
        from ssl_jax.evaluate.encode import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
