"""View policies of published recipes: a table of plain values, for configs to copy and change."""

from __future__ import annotations

import difflib
from typing import Any

from ssl_jax.errors import UserError

# The sources say which values: papers where they agree with their code, else the code.
# SimCLR: Chen et al. 2020, arXiv 2002.05709, appendix A, colour strength s = 1. Its TensorFlow code has no mean/std
# normalisation, and other jitter formulas: jitter_backend="tf" (version 1) or "tf_multiplicative" (version 2).
# SimCLR on CIFAR-10: appendix B.9, s = 0.5 and no blur.
# MoCo v1: He et al. 2019, arXiv 1911.05722: grey comes before the jitter, whose hue is 0.4. v2: Chen et al. 2020,
# arXiv 2003.04297; SimSiam: Chen & He 2020, arXiv 2011.10566. v3: Chen et al. 2021, arXiv 2104.02057; with ResNet-50 the
# scale is (0.2, 1).
# BYOL: Grill et al. 2020, arXiv 2006.07733, table 6; TensorFlow's jitter with additive brightness, and a kernel of a tenth
# of 224 pixels. Barlow Twins (arXiv 2103.03230) and VICReg (arXiv 2105.04906) take its values with torchvision's jitter.
# On CIFAR-10 solo-learn takes them without blur.
# SwAV: Caron et al. 2020, arXiv 2006.09882: 2 global and 6 local views.
# LeJEPA: Balestriero & LeCun 2025, arXiv 2511.08544: 2 global and 6 local views.
# DINO: Caron et al. 2021, arXiv 2104.14294: 2 global and 8 local views of 224 and 96 pixels; "_long" for its longer runs,
# with 10 local views. iBOT: Zhou et al. 2021, arXiv 2111.07832. DINOv2: Oquab et al. 2023, arXiv 2304.07193, a 9x9 blur;
# its code, and DINOv3's, blurs with one minus the probability that it names, and the released models were trained that
# way: "_released". DINOv3: Simeoni et al. 2025, arXiv 2508.10104: 256 and 112 pixels, no flips; "dinov3_gram" are its
# global crops without distortions, for larger sizes. MSN: Assran et al. 2022, arXiv 2204.07141: focal views are local.
# RotNet on ImageNet: arXiv 1803.07728. Jigsaw as in vissl: 255 of 256 pixels. Relative position: the crop is ours and puts
# the grid of arXiv 1505.05192 anywhere in the image. CURL (arXiv 2004.04136): 84 of 100 pixels, at their own size.
# MAE: He et al. 2022, arXiv 2111.06377, appendix A.1.
# I-JEPA: Assran et al. 2023, arXiv 2301.08243: crops and nothing else.
_BLUR: dict[str, Any] = {"blur": 0.5, "blur_sigma": (0.1, 2.0)}
_MOCO: dict[str, Any] = {"count": 2, "scale": (0.2, 1.0), "interpolation": "bilinear", "flip": 0.5, "grey": 0.2}
_MOCO_V2 = _MOCO | _BLUR | {"jitter": (0.4, 0.4, 0.4, 0.1), "jitter_prob": 0.8}
_SOFT: dict[str, Any] = {"flip": 0.5, "jitter": (0.4, 0.4, 0.2, 0.1), "jitter_prob": 0.8, "grey": 0.2}
_ASYMMETRIC = _SOFT | {  # view 1 is always blurred, view 2 rarely, but at times solarised
    "count": 2,
    "scale": (0.08, 1.0),
    "interpolation": "bicubic",
    "blur": (1.0, 0.1),
    "blur_sigma": (0.1, 2.0),
    "solarize": (0.0, 0.2),
    "solarize_threshold": 0.5,
}
_SWAV = _BLUR | {
    "interpolation": "bilinear",
    "flip": 0.5,
    "jitter": (0.8, 0.8, 0.8, 0.2),
    "jitter_prob": 0.8,
    "grey": 0.2,
}
_LEJEPA = _SOFT | _BLUR | {"interpolation": "bicubic", "solarize": 0.2, "solarize_threshold": 0.5}
_DINO = _SOFT | {
    "count": 2,
    "interpolation": "bicubic",
    "blur": (1.0, 0.1),
    "blur_sigma": (0.1, 2.0),
    "solarize": (0.0, 0.2),
    "solarize_threshold": 0.5,
}
_DINO_LOCAL = _SOFT | _BLUR | {"count": 8, "interpolation": "bicubic"}
_DINOV2 = _DINO | {"scale": (0.32, 1.0), "blur_kernel": 9}
_DINOV2_LOCAL = _DINO_LOCAL | {"scale": (0.05, 0.32), "blur_kernel": 9}
_RELEASED = {"blur": (0.0, 0.9)}
_MSN = _BLUR | {
    "interpolation": "bilinear",
    "flip": 0.5,
    "jitter": (0.4, 0.4, 0.4, 0.1),
    "jitter_prob": 0.8,
    "grey": 0.2,
}
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
    "moco_v1": _MOCO | {"jitter": (0.4, 0.4, 0.4, 0.4), "jitter_prob": 1.0, "grey_first": True},
    "moco_v2": _MOCO_V2,
    "moco_v3": _ASYMMETRIC | {"interpolation": "bilinear"},
    "simsiam": _MOCO_V2,
    "byol": _ASYMMETRIC | {"jitter_backend": "tf", "blur_kernel": 23},
    "byol_cifar": _ASYMMETRIC | {"blur": 0.0},
    "barlow_twins": _ASYMMETRIC,
    "vicreg": _ASYMMETRIC,
    "swav": _SWAV | {"count": 2, "scale": (0.14, 1.0)},
    "swav_local": _SWAV | {"count": 6, "scale": (0.05, 0.14)},
    "lejepa": _LEJEPA | {"count": 2, "scale": (0.3, 1.0)},
    "lejepa_local": _LEJEPA | {"count": 6, "scale": (0.05, 0.3)},
    "dino": _DINO | {"scale": (0.4, 1.0)},
    "dino_local": _DINO_LOCAL | {"scale": (0.05, 0.4)},
    "dino_long": _DINO | {"scale": (0.25, 1.0)},
    "dino_long_local": _DINO_LOCAL | {"count": 10, "scale": (0.05, 0.25)},
    "ibot": _DINO | {"scale": (0.25, 1.0)},
    "ibot_local": _DINO_LOCAL | {"count": 10, "scale": (0.05, 0.25)},
    "dinov2": _DINOV2,
    "dinov2_released": _DINOV2 | _RELEASED,
    "dinov2_local": _DINOV2_LOCAL,
    "dinov3": _DINOV2 | {"flip": 0.0},
    "dinov3_released": _DINOV2 | _RELEASED | {"flip": 0.0},
    "dinov3_local": _DINOV2_LOCAL | {"flip": 0.0},
    "dinov3_gram": {"count": 2, "scale": (0.32, 1.0), "interpolation": "bicubic", "like": "image"},
    "msn": _MSN | {"count": 2, "scale": (0.3, 1.0)},
    "msn_local": _MSN | {"count": 10, "scale": (0.05, 0.3)},
    "rotnet": {"count": 1, "scale": (0.08, 1.0), "interpolation": "bilinear", "flip": 0.5},
    "jigsaw": {"count": 1, "scale": ((255 / 256) ** 2,) * 2, "ratio": (1.0, 1.0), "flip": 0.5, "grey": 0.66},
    "relative_position": {"count": 1, "scale": (0.5, 1.0)},
    "curl": {"count": 2, "scale": (0.7056, 0.7056), "ratio": (1.0, 1.0)},
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
