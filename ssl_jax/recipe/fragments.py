"""Pieces that recipes share. Each returns plain values for a section of a recipe."""

from __future__ import annotations

from typing import Any

# Mean and standard deviation of Fashion-MNIST's training pixels in [0, 1].
FASHION_PIXELS: dict[str, Any] = {"mean": (0.286,), "std": (0.353,)}
IMAGENET_PIXELS: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def image_views(size: int, pixels: dict[str, Any], image: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The `augment` section for one kind of view, `image`, at `size` pixels."""
    return {"target": "ssl_jax.data.augment:ImageViews", "size": size, **pixels, "views": {"image": image}, **options}


def embedded(limit: int | None = None) -> dict[str, Any]:
    """The `data` section for the embedded Fashion-MNIST subset; `limit` examples of each split for `:tiny`."""
    target = "ssl_jax.data.sources:Embedded"
    return {
        "pretrain": {"target": target, "split": "pretrain", "limit": limit},
        "probe": {"target": target, "split": "probe", "limit": limit},
        "test": {"target": target, "split": "test", "limit": limit},
    }


def fashion_mnist() -> dict[str, Any]:
    """The `data` section for the full Fashion-MNIST: 60,000 images to pretrain and probe on, 10,000 to test."""
    target = "ssl_jax.data.sources:FashionMNIST"
    return {split: {"target": target, "split": split} for split in ("pretrain", "probe", "test")}


def image_folders(root: str, size: int, threads: int = 16) -> dict[str, Any]:
    """The `data` section for class folders `root/train` and `root/val`, decoded to `size` pixels on the host."""
    target = "ssl_jax.data.sources:ImageFolder"
    train, test = ({"target": target, "root": f"{root}/{part}", "size": size} for part in ("train", "val"))
    return {"pretrain": train, "probe": dict(train), "test": test, "threads": threads, "prefetch": 32}


def imagenet(root: str, size: int = 256) -> dict[str, Any]:
    """The `data` section for ImageNet-1k as class folders `root/train` and `root/val`; `ssl-jax plan` needs no files."""
    return image_folders(root, size) | {"examples": 1_281_167}


def small_vit(width: int, depth: int, heads: int, patch: int, **options: Any) -> dict[str, Any]:
    """The `model` section for a ViT of a custom size, with an MLP four times as wide."""
    sizes = {"width": width, "depth": depth, "heads": heads, "mlp_dim": 4 * width, "patch": patch}
    return {"target": "ssl_jax.models.vit:ViT", **sizes, **options}


def frozen_evaluation(encoder: str = "student") -> dict[str, Any]:
    """The `evaluate` section for large images: linear and kNN beside a random encoder, no supervised training."""
    return {"encoder": encoder, "probes": ("linear", "knn"), "baselines": ("random",), "every_percent": 5}


def evaluation(encoder: str = "student", tiny: bool = False) -> dict[str, Any]:
    """The `evaluate` section: which encoder is probed, and how long the supervised baseline trains."""
    if tiny:
        few = {"shots": (5, 10), "supervised_examples": 256, "supervised_few_examples": 128}
        return {"encoder": encoder, "health_examples": 200, **few}
    return {"encoder": encoder, "supervised_examples": 60_000, "supervised_few_examples": 12_800}
