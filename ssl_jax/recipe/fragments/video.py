"""Pieces that recipes of video share. Each returns plain values for a section of a recipe."""

from __future__ import annotations

from typing import Any

from ssl_jax.recipe.fragments.common import evaluation

# Mean and standard deviation of the pixels of moving Fashion-MNIST in [0, 1].
MOVING_PIXELS: dict[str, Any] = {"mean": (0.104,), "std": (0.24,)}


def clip_views(size: int, pixels: dict[str, Any], clip: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The `augment` section for one kind of view, `clip`, at `size` pixels."""
    views = {"clip": clip}
    return {"target": "ssl_jax.data.video.views:ClipViews", "size": size, **pixels, "views": views, **options}


def moving_data(tiny: bool = False, label: str = "direction", **options: Any) -> dict[str, Any]:
    """The `data` section for moving Fashion-MNIST, frames of 32 pixels; `options` of the source win."""
    source = {"target": "ssl_jax.data.sources:MovingFashion", "label": label, **options}
    few = {"count": 500} if tiny else {}
    return {split: source | few | {"split": split} for split in ("pretrain", "probe", "test")}


def moving_views(**clip: Any) -> dict[str, Any]:
    """The `augment` section of clips of moving Fashion-MNIST as they are: never flipped, since that would turn directions."""
    return clip_views(32, MOVING_PIXELS, {"count": 1} | clip)


def clip_vit(width: int, depth: int, heads: int, patch: tuple[int, int, int], **options: Any) -> dict[str, Any]:
    """The `model` section for a ViT on tubelets of `patch` (frames, rows, columns), with an MLP four times as wide."""
    sizes = {"width": width, "depth": depth, "heads": heads, "mlp_dim": 4 * width, "patch": patch}
    return {"target": "ssl_jax.models.vit:ViT", **sizes, "class_token": False, **options}


def moving_run(arg: str, examples: int, encoder: str = "student", **data: Any) -> dict[str, Any]:
    """Every section of a run on moving Fashion-MNIST but objective, model, views and optimiser.

    `arg` "" is `examples` examples, "tiny" a trial.
    """
    tiny = arg == "tiny"
    return {
        "seed": 0,
        "batch_size": 32 if tiny else 64,
        "total_examples": 256 if tiny else examples,
        "data": moving_data(tiny, **data),
        "schedule": {"name": "cosine", "warmup_percent": 10},
        "mesh": {"data": -1},
        "checkpoint": {"every_percent": 25},
        "evaluate": evaluation(encoder, tiny) | {"baselines": ("raw", "random")},
        "log": {"every_steps": 4 if tiny else 20},
    }
