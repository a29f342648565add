"""Pieces that recipes with labels share, and how one is made of a pretrained run's recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.recipe.values import shown

ADAPT = "ssl_jax.adapt"
# What is learned of the encoder, by the word that a recipe is called with.
WAYS: dict[str, dict[str, Any]] = {
    "full": {"target": f"{ADAPT}.base:Full"},
    "linear": {"target": f"{ADAPT}.base:Frozen"},
    "last": {"target": f"{ADAPT}.parts:LastBlocks", "count": 1},
    "norms": {"target": f"{ADAPT}.parts:Norms"},
    "biases": {"target": f"{ADAPT}.parts:Biases"},
    "adapters": {"target": f"{ADAPT}.parts:Adapters"},
    "lora": {"target": f"{ADAPT}.lora:LoRA", "rank": 8, "alpha": 16.0},
}
LINEAR_FIRST = (("^encoder/", {"freeze_until_percent": 30}),)  # linear, then full (Kumar et al. 2022, arXiv 2202.10054)
EVALUATION = ("size", "mean", "std", "crop_fraction", "interpolation", "key")  # of an augmentation of images
IMAGES = "ssl_jax.data.image.views:ImageViews"
VIEWS = {"image": {"count": 1, "scale": (0.6, 1.0), "flip": 0.5}}


def finetuning(way: str = "full", classes: int = 0, **options: Any) -> dict[str, Any]:
    """The `objective` section: labels, a way of `WAYS`, `classes` (0: as many as the data has), and other `options`."""
    if way not in WAYS:
        raise UserError(f"an encoder is adapted in one of these ways: {', '.join(WAYS)}; {way!r} is none")
    return {"target": "ssl_jax.objectives.finetune:Finetune", "classes": classes, "adapt": WAYS[way], **options}


def few_labels(source: Mapping[str, Any], per_class: int, draw: int = 0) -> dict[str, Any]:
    """The `data.pretrain` section of `per_class` labelled records of each class of `source`."""
    return {"target": "ssl_jax.data.sources:FewLabels", "source": source, "per_class": per_class, "draw": draw}


def own_evaluation() -> dict[str, Any]:
    """The `evaluate` section of a run whose own task is what counts: no other rows, and a kNN beside it."""
    return {"probes": ("knn",), "baselines": (), "health_examples": 500, "every_percent": 50}


def plain_finetuning(before: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe for the encoder of a pretrained run where none is named: all of it, for 20 passes over the labels.

    AdamW with layer-wise rates where there are layers, as MAE and BEiT fine-tune.
    """
    stacked = any(name in str(before["model"].get("target")) for name in (":ViT", ":TextTransformer"))
    return {
        "seed": 0,
        "batch_size": 64,
        "total_epochs": 20,
        "objective": finetuning(),
        "model": before["model"],
        "data": {**before["data"], "pretrain": before["data"]["probe"], "examples": None},
        "augment": _views_of(before["augment"], VIEWS),
        "optimizer": {"name": "adamw", "lr": 1e-3, "b2": 0.999} | ({"layer_decay": 0.75} if stacked else {}),
        "schedule": {"name": "cosine", "warmup_percent": 10},
        "evaluate": own_evaluation() | {"label": before["evaluate"]["label"]},
    }


def of_pretrained(recipe: Mapping[str, Any], before: Mapping[str, Any], workdir: str) -> dict[str, Any]:
    """A recipe with labels for the encoder of a pretrained run: the run's model and what its augmentation does at evaluation.

    `before` is the run's recipe, `workdir` where it lies. UserError where one is of several encoders or of other inputs.
    """
    if "target" not in before["model"]:
        raise UserError(
            f"--from {workdir}: its model is several encoders ({', '.join(before['model'])}), and labels need one; "
            "name its config and init_from in a recipe of your own"
        )
    if recipe["augment"]["target"] != before["augment"]["target"]:
        raise UserError(
            f"--from {workdir}: it was pretrained on views of {before['augment']['target']}, and the recipe has "
            f"{shown(recipe['augment']['target'])}; leave out --config, or name a recipe of the same inputs"
        )
    return {
        **recipe,
        "model": {**before["model"], **_learning_only(recipe["model"], before["model"])},
        "augment": _views_of(before["augment"], recipe["augment"].get("views")),
        "init_from": {"workdir": workdir},
    }


def _learning_only(model: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """What the recipe says of the same kind of model that changes no parameter of pretraining."""
    free = ("drop_path", "dropout", "remat", "dtype", "attention", "adapter", "cells", "pool")
    same = model.get("target") == before["target"]
    return {key: model[key] for key in free if same and key in model}


def _views_of(augment: Mapping[str, Any], views: Any) -> dict[str, Any]:
    """The augmentation of a pretrained run with other views in training, where it is one of images."""
    if augment["target"] != IMAGES:
        return dict(augment)
    return {"target": IMAGES, **{key: augment[key] for key in EVALUATION if key in augment}, "views": views}
