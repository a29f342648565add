"""Pieces that recipes of video share. Each returns plain values for a section of a recipe."""

from __future__ import annotations

from typing import Any

from ssl_jax.recipe.fragments.common import evaluation, frozen_evaluation
from ssl_jax.recipe.fragments.image import IMAGENET_PIXELS

# Mean and standard deviation of the pixels of moving Fashion-MNIST in [0, 1].
MOVING_PIXELS: dict[str, Any] = {"mean": (0.192,), "std": (0.239,)}


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


def label_probes(*names: str) -> tuple[Any, ...]:
    """Probes for labels by name: on the encoder's features, and on what it makes of frames one by one."""
    probe = {"target": "ssl_jax.evaluate.probes.labels:Probe", "fields": names}
    return probe | {"name": "labels"}, probe | {"name": "frame_labels", "reading": "frames"}


def moving_run(arg: str, examples: int, encoder: str = "student", **data: Any) -> dict[str, Any]:
    """Every section of a run on moving Fashion-MNIST but objective, model, views and optimiser.

    `arg` "" is `examples` examples, "tiny" a trial.
    """
    tiny = arg == "tiny"
    probes = ("knn", *label_probes("direction", "order", "speed", "garment"))
    return {
        "seed": 0,
        "batch_size": 32 if tiny else 64,
        "total_examples": 256 if tiny else examples,
        "data": moving_data(tiny, **data),
        "schedule": {"name": "cosine", "warmup_percent": 10},
        "mesh": {"data": -1},
        "checkpoint": {"every_percent": 25},
        "evaluate": evaluation(encoder, tiny) | {"baselines": ("raw", "random"), "probes": probes},
        "log": {"every_steps": 4 if tiny else 20},
    }


def videos(examples: int, size: int, frames: int = 16, **options: Any) -> dict[str, Any]:
    """The `data` section for class folders of videos, data/videos/train and /val; `ssl-jax plan` needs no files."""
    source = {"target": "ssl_jax.data.sources:VideoFolder", "size": size, "frames": frames, **options}
    train, test = (source | {"root": f"data/videos/{part}"} for part in ("train", "val"))
    return {"pretrain": train, "probe": dict(train), "test": test, "examples": examples, "threads": 16, "prefetch": 32}


def video_run(tiny: bool, batch_size: int, data: dict[str, Any], size: int, crop: dict[str, Any]) -> dict[str, Any]:
    """Every section of a run on videos but its length, objective, model, optimiser and schedule; `crop` of `size` pixels.

    `tiny` is a trial on moving Fashion-MNIST, so that nothing is downloaded.
    """
    clips = {"count": 1, "interpolation": "bilinear"} | crop
    frozen = frozen_evaluation("teacher") | {"probes": ("attentive", "knn")}
    return {
        "seed": 0,
        "batch_size": 32 if tiny else batch_size,
        "data": moving_data(True) if tiny else data,
        "augment": moving_views() if tiny else clip_views(size, IMAGENET_PIXELS, clips),
        "mesh": {"data": 1, "fsdp": -1},
        "checkpoint": {"every_percent": 5},
        "evaluate": evaluation("teacher", True) | {"baselines": ("raw", "random")} if tiny else frozen,
        "log": {"every_steps": 4 if tiny else 50},
    }
