"""View policies of published recipes: a table of plain values, for configs to copy and change."""

from __future__ import annotations

import difflib
from typing import Any

from ssl_jax.errors import UserError

# SimCLR: Chen et al. 2020, arXiv 2002.05709, appendix A, colour strength s = 1. Its TensorFlow code has no mean/std
# normalisation, and other jitter formulas: jitter_backend="tf" (version 1) or "tf_multiplicative" (version 2).
# SimCLR on CIFAR-10: appendix B.9, s = 0.5 and no blur.
# MAE: He et al. 2022, arXiv 2111.06377, appendix A.1.
# I-JEPA: Assran et al. 2023, arXiv 2301.08243: crops and nothing else.
PRESETS: dict[str, dict[str, Any]] = {
    "simclr": {
        "count": 2,
        "scale": (0.08, 1.0),
        "interpolation": "bicubic",
        "flip": 0.5,
        "jitter": (0.8, 0.8, 0.8, 0.2),
        "jitter_prob": 0.8,
        "grey": 0.2,
        "blur": 0.5,
        "blur_sigma": (0.1, 2.0),
    },
    "simclr_cifar": {
        "count": 2,
        "scale": (0.08, 1.0),
        "interpolation": "bicubic",
        "flip": 0.5,
        "jitter": (0.4, 0.4, 0.4, 0.1),
        "jitter_prob": 0.8,
        "grey": 0.2,
    },
    "mae": {"count": 1, "scale": (0.2, 1.0), "interpolation": "bicubic", "flip": 0.5},
    "ijepa": {"count": 1, "scale": (0.3, 1.0), "interpolation": "bilinear"},
}


def preset(name: str, size: int | tuple[int, int], count: int | None = None, **overrides: Any) -> dict[str, Any]:
    """Options of a `ViewPolicy`: those of `PRESETS[name]` at `size`, with `count` and `overrides` in their place.

    >>> preset("mae", 224, flip=0.0)["scale"]
    (0.2, 1.0)
    """
    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(PRESETS)}"
        raise UserError(f"no augmentation preset '{name}'; {hint}")
    chosen = {"size": size} | ({} if count is None else {"count": count})
    return PRESETS[name] | chosen | overrides
