"""Pieces that recipes of images share. Each returns plain values for a section of a recipe."""

from __future__ import annotations

from typing import Any

from ssl_jax.data.image.presets import preset
from ssl_jax.errors import UserError
from ssl_jax.recipe.batch_size import BATCH_RULES
from ssl_jax.recipe.fragments.common import evaluation, frozen_evaluation

# Mean and standard deviation of Fashion-MNIST's training pixels in [0, 1].
FASHION_PIXELS: dict[str, Any] = {"mean": (0.286,), "std": (0.353,)}
IMAGENET_PIXELS: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
SWAV_PIXELS: dict[str, Any] = IMAGENET_PIXELS | {"std": (0.228, 0.224, 0.225)}  # as its code has it
CIFAR10_PIXELS: dict[str, Any] = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)}
# The weight of SIGReg, whose statistic grows with the batch.
LEJEPA_BATCH_RULES = (*BATCH_RULES, ("objective.weight", "share_of_sum"))
UNCHANGED_PIXELS: dict[str, Any] = {"mean": (0.0,), "std": (1.0,)}


def image_views(size: int, pixels: dict[str, Any], image: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The `augment` section for one kind of view, `image`, at `size` pixels."""
    return {
        "target": "ssl_jax.data.image.views:ImageViews",
        "size": size,
        **pixels,
        "views": {"image": image},
        **options,
    }


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


def fashion_data(arg: str) -> dict[str, Any]:
    """The `data` section that a Fashion-MNIST recipe's argument chooses: the embedded subset, `tiny` or `full`."""
    if arg not in ("", "tiny", "full"):
        raise UserError(f"a recipe of Fashion-MNIST has no argument {arg!r}; append :tiny or :full, or nothing")
    return fashion_mnist() if arg == "full" else embedded(limit=500 if arg == "tiny" else None)


def image_folders(root: str, size: int, threads: int = 16) -> dict[str, Any]:
    """The `data` section for class folders `root/train` and `root/val`.

    Random crops are cut from whole pictures on the host. Evaluation sees the central square, scaled to `size` pixels.
    """
    target = "ssl_jax.data.sources:ImageFolder"
    train, test = ({"target": target, "root": f"{root}/{part}", "size": size} for part in ("train", "val"))
    sources = {"pretrain": train, "probe": dict(train), "test": test}
    return {**sources, "crop": "host", "threads": threads, "prefetch": 32}


def imagenet(root: str, size: int = 256) -> dict[str, Any]:
    """The `data` section for ImageNet-1k as class folders `root/train` and `root/val`; `ssl-jax plan` needs no files."""
    return image_folders(root, size) | {"examples": 1_281_167}


def small_vit(width: int, depth: int, heads: int, patch: int, **options: Any) -> dict[str, Any]:
    """The `model` section for a ViT of a custom size, with an MLP four times as wide."""
    sizes = {"width": width, "depth": depth, "heads": heads, "mlp_dim": 4 * width, "patch": patch}
    return {"target": "ssl_jax.models.vit:ViT", **sizes, **options}


def small_conv(**options: Any) -> dict[str, Any]:
    """The `model` section for the small convolutional encoder of the Fashion-MNIST recipes: 28 pixels to a 4x4 map.

    Its last layer is 1x1. Features are the means of the quarters of the map, 512 numbers.
    """
    sizes = {"widths": (32, 64, 128, 128), "strides": (2, 2, 2, 1), "kernels": (3, 3, 3, 1), "norm": "batch"}
    return {"target": "ssl_jax.models.conv:ConvNet", **sizes, "pool": "mean", "cells": 2, **options}


def fashion_views(local: int = 0, **options: Any) -> dict[str, Any]:
    """The `augment` section of two crops of a grey 28-pixel image, and of `local` small ones; `options` win."""
    policy = {"count": 2, "scale": (0.3, 1.0), "ratio": (0.6, 1.67), "flip": 0.5}
    policy |= {"jitter": (0.4, 0.4, 0.0, 0.0), "jitter_prob": 0.8} | options
    views = {"image": policy} | ({"local": policy | {"count": local, "scale": (0.1, 0.3)}} if local else {})
    return image_views(28, FASHION_PIXELS, policy) | {"views": views}


def fashion_run(arg: str, examples: int, encoder: str = "student") -> dict[str, Any]:
    """Every section of a run of `small_conv` on Fashion-MNIST but objective, views and optimiser.

    `arg` "" is `examples` examples of the embedded subset, "full" as many epochs of all of it, "tiny" a trial.
    """
    tiny = arg == "tiny"
    return {
        "seed": 0,
        "batch_size": 32 if tiny else 256,
        "total_examples": {"tiny": 256, "full": 3 * examples}.get(arg, examples),
        "model": small_conv(),
        "data": fashion_data(arg),
        "schedule": {"name": "cosine", "warmup_percent": 5},
        "mesh": {"data": -1},
        "checkpoint": {"every_percent": 25},
        "evaluate": evaluation(encoder, tiny),
        "log": {"every_steps": 4 if tiny else 20},
    }


def token_vit(tiny: bool, size: str, **options: Any) -> dict[str, Any]:
    """The `model` section for self-distillation: a ViT with normal weights and learned positions, read at its class token.

    The small one is read at its class token and the mean of its patches, as DINOv2 reads where it probes linearly.

    `size`: "small" for Fashion-MNIST; "S" or "L" with patches of 16 pixels. `tiny` is smaller than all of them.
    """
    sizes = {"tiny": (32, 1, 2, 4), "small": (96, 4, 3, 4), "S": (384, 12, 6, 16), "L": (1024, 24, 16, 16)}
    pool = "class_mean" if size == "small" else "class"
    options = {"positions": "learned", "pool": pool, "initializer": "normal"} | options
    return small_vit(*sizes["tiny" if tiny else size], **options)


def token_run(arg: str, examples: int, crops: tuple[float, float] = (0.3, 0.3), **model: Any) -> dict[str, Any]:
    """Every section of a run of a small ViT on Fashion-MNIST but objective and optimiser; `arg` as in `fashion_run`.

    Two crops of 28 pixels, of at least `crops[0]` of the image, and four of 16 pixels, of at most `crops[1]`. Batches of 64,
    since a short run needs its steps more than large batches.
    """
    tiny = arg == "tiny"
    views = fashion_views(4)
    views["views"]["image"] = views["views"]["image"] | {"scale": (crops[0], 1.0)}
    views["views"]["local"] = views["views"]["local"] | {"size": 16, "scale": (0.1, crops[1])}
    run = fashion_run(arg, examples, "teacher") | ({} if tiny else {"batch_size": 64})
    model = {"remat": "none"} | model
    return run | {"augment": views, "model": token_vit(tiny, "small", **model)}


def token_adamw(lr: float, *groups: tuple[str, dict[str, Any]], **options: Any) -> dict[str, Any]:
    """The `optimizer` section of the DINO family; tokens and positions decay like matrices; `options` win."""
    tokens = r"encoder/(class_token|class_position|positions|registers|mask_token)$"
    decay = {"weight_decay": 0.04, "weight_decay_final": 0.4}
    groups = (*groups, (tokens, {"weight_decay": 1.0}))
    return {
        "name": "adamw",
        "lr": lr,
        "b2": 0.999,
        **decay,
        "clip": 3.0,
        "clip_by": "tensor",
        "groups": groups,
    } | options


def tiny_heads(tiny: bool, **options: Any) -> dict[str, Any]:
    """Options of an objective with prototypes: as given, or with a few of them and narrow heads for `:tiny`."""
    small = {"prototypes": 64, "hidden": 64, "bottleneck": 16}
    if options.get("patch_prototypes"):
        small |= {"patch_prototypes": 32, "patch_hidden": 64}
    return {"centre_momentum": 0.9} | options | (small if tiny else {})


def resnet(depth: int = 50, **options: Any) -> dict[str, Any]:
    """The `model` section for a residual network."""
    return {"target": "ssl_jax.models.resnet:ResNet", "depth": depth, **options}


def preset_views(
    tiny: bool, pixels: dict[str, Any] = IMAGENET_PIXELS, changes: dict[str, Any] | None = None, **policies: Any
) -> dict[str, Any]:
    """The `augment` section of published view policies: `image=("swav", 224), local=("swav_local", 96)`.

    `changes` are made to each policy. `tiny` divides sizes by 8 and takes the pixels of Fashion-MNIST.
    """
    sizes = {name: size // 8 if tiny else size for name, (_, size) in policies.items()}
    views = {name: preset(chosen, sizes[name], **(changes or {})) for name, (chosen, _) in policies.items()}
    section = image_views(sizes["image"], FASHION_PIXELS if tiny else pixels, {}, crop_fraction=0.875)
    return section | {"views": views}


def in1k_run(tiny: bool, batch_size: int, epochs: int, warmup: int = 0, **schedule: Any) -> dict[str, Any]:
    """Every section of a run on class folders of ImageNet but objective, views and optimiser; a ResNet-50.

    `warmup` is in epochs. `tiny` runs a small network on embedded images instead, so that nothing is downloaded.
    """
    return {
        "seed": 0,
        "batch_size": 32 if tiny else batch_size,
        **({"total_examples": 256} if tiny else {"total_epochs": epochs}),
        "model": small_conv(widths=(8, 16, 32), strides=(2, 2, 2), kernels=(3, 3, 3), cells=1) if tiny else resnet(50),
        "data": embedded(limit=500) if tiny else imagenet("data/imagenet"),
        "schedule": {"name": "cosine", **({"warmup_percent": 10} if tiny else {"warmup_epochs": warmup}), **schedule},
        "mesh": {"data": -1},
        "checkpoint": {"every_percent": 5, "keep": 2},
        "evaluate": evaluation("student", tiny) if tiny else frozen_evaluation("student"),
        "log": {"every_steps": 4 if tiny else 50},
    }


def folder_run(tiny: bool, size: int, batch_size: int, epochs: int, encoder: str = "student") -> dict[str, Any]:
    """Every section of a run on a folder of pictures but objective, model, views and optimiser: one GPU, or a CPU.

    `--data` names the pictures; one in ten may be unreadable. `size` is that of the views. `tiny` takes embedded images.
    """
    folder = {"target": "ssl_jax.data.sources:ImageFolder", "root": "data/pictures", "size": round(size * 8 / 7)}
    data = {
        "pretrain": folder,
        "crop": "host",
        "threads": 8,
        "prefetch": 8,
        "max_bad_fraction": 0.1,
        "examples": 50_000,
    }
    frozen = {"encoder": encoder, "probes": ("linear", "knn", "fewshot"), "baselines": ("random",), "every_percent": 10}
    return {
        "seed": 0,
        "batch_size": 32 if tiny else batch_size,
        **({"total_examples": 256} if tiny else {"total_epochs": epochs}),
        "data": embedded(limit=500) if tiny else data,
        "schedule": {"name": "cosine", "warmup_percent": 5},
        "mesh": {"data": -1},
        "checkpoint": {"every_percent": 10, "keep": 2},
        "evaluate": evaluation(encoder, tiny) if tiny else frozen | {"health_examples": 500},
        "log": {"every_steps": 4 if tiny else 10},
    }


def folder_views(tiny: bool, size: int, **views: dict[str, Any]) -> dict[str, Any]:
    """The `augment` section of views of a folder's pictures at `size` pixels; those of Fashion-MNIST's for `tiny`."""
    section = image_views(28 if tiny else size, FASHION_PIXELS if tiny else IMAGENET_PIXELS, {})
    return section | {"views": views}


def masked_run(arg: str, examples: int, read: int = 0, patch: int = 7, **model: Any) -> dict[str, Any]:
    """Every section of a run of a small ViT that sees mask tokens on Fashion-MNIST but objective; `arg` as in `fashion_run`.

    A crop of at least 0.6 of the image in patches of 7 pixels, and the mean of the patches: 16 tokens cost a third of the 49
    that patches of 4 pixels make, and learn more in a short run. Batches of 64, since it needs its steps more than large
    batches. Positions are fixed: a thousand steps are too few to learn relative ones. `read` is the block that features are
    read after; 0 is the end.
    """
    tiny = arg == "tiny"
    width, depth, heads = (32, 2, 2) if tiny else (96, 4, 3)
    views = {"count": 1, "scale": (0.6, 1.0), "flip": 0.5, "interpolation": "bicubic"}
    run = fashion_run(arg, examples) | ({} if tiny else {"batch_size": 64})
    return run | {
        "model": small_vit(
            width,
            depth,
            heads,
            patch,
            class_token=False,
            remat="none",
            unroll=depth,
            read_block=min(read, depth - 1),
            **model,
        ),
        "augment": image_views(28, FASHION_PIXELS, views),
        "optimizer": {"name": "adamw", "lr": 1e-3, "b2": 0.98, "weight_decay": 0.05, "clip": 3.0},
        "schedule": {"name": "cosine", "warmup_percent": 10},
    }


def masked_in1k(tiny: bool, epochs: int, views: dict[str, Any], read: int = 0, **model: Any) -> dict[str, Any]:
    """Every section of a run of ViT-B/16 that sees mask tokens on ImageNet but objective, optimiser and schedule.

    Relative positions, class token, batches of 2048. `tiny` is a small ViT on embedded images. `read` as in `masked_run`.
    """
    size, pixels = (28, FASHION_PIXELS) if tiny else (224, IMAGENET_PIXELS)
    options = {"positions": "relative", "qkv_bias": "query_value", "initializer": "normal", **model}
    return {
        "seed": 0,
        "batch_size": 32 if tiny else 2048,
        **({"total_examples": 256} if tiny else {"total_epochs": epochs}),
        "model": small_vit(32, 2, 2, 4, **options, grid=(7, 7), remat="none", read_block=min(read, 1))
        if tiny
        else small_vit(
            768, 12, 12, 16, **options, grid=(14, 14), dtype="bfloat16", attention="auto", remat="none", read_block=read
        ),
        "data": embedded(limit=500) if tiny else imagenet("data/imagenet"),
        "augment": image_views(size, pixels, views),
        "mesh": {"data": -1},
        "checkpoint": {"every_percent": 5},
        "evaluate": evaluation("student", tiny) if tiny else frozen_evaluation(),
        "log": {"every_steps": 4 if tiny else 50},
    }


def pixel_transformer(
    width: int, depth: int, heads: int, colours: int, pixels: int, channels: int = 3, **options: Any
) -> dict[str, Any]:
    """The `model` section of iGPT: causal, RMS norms, no biases, `quick_gelu`; the vocabulary has a sign beside the colours."""
    sizes = {"vocabulary": colours + 1, "width": width, "depth": depth, "heads": heads, "mlp_dim": 4 * width}
    style = {"causal": True, "norm": "rms", "bias": False, "mlp": "quick_gelu", "initial": "gpt2", "length": pixels}
    return {"target": "ssl_jax.models.pixels:PixelTransformer", "channels": channels, **sizes, **style, **options}
