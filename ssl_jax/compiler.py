"""What the XLA compiler must be told before jax starts."""

from __future__ import annotations

import os
from importlib import metadata

FLAG = "--xla_cpu_experimental_ynn_fusion_type="


def avoid_wrong_reductions() -> None:
    """Switch off a fusion of jaxlib 0.10's CPU compiler that returns wrong numbers (jax issue 39103).

    A batched multiply-and-sum with more than 32,768 results, fused with another reduction (a softmax cross-entropy over
    many rows, say), is silently wrong under `jit`. Other versions may not know the flag and would refuse to start, so it is
    set for 0.10 only, and never against a value that the user chose.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if metadata.version("jaxlib").startswith("0.10.") and FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}".strip()
