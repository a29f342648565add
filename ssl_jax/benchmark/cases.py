"""What is timed: a shipped recipe with another encoder, on records that are made up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.models.vit import VARIANTS as MODELS
from ssl_jax.plan.problem import Problem, problem
from ssl_jax.recipe import load, plain
from ssl_jax.recipe.fragments.image import preset_views

RECIPES = {
    "mae": "mae_vitl_in1k", "simclr": "simclr_resnet50_in1k", "dino": "dino_vits16_in1k", "dinov2": "dinov2_vitl16_in1k"
}  # fmt: skip
# Options of the encoder. `unroll` takes the loop over layers apart; `cudnn` is NVIDIA's fused attention.
VARIANTS: dict[str, dict[str, Any]] = {
    "scan+full": {"remat": "full"},
    "scan+dots": {"remat": "dots"},
    "scan": {"remat": "none"},
    "unroll": {"remat": "none", "unroll": 64},
    "unroll+full": {"remat": "full", "unroll": 64},
    "scan+cudnn": {"remat": "none", "attention": "cudnn"},
    "unroll+cudnn": {"remat": "none", "unroll": 64, "attention": "cudnn"},
}


@dataclass(frozen=True)
class Size:
    """What a recipe's numbers are replaced by: pixels of whole images, crops and local crops, and the sizes of heads."""

    image: int
    local: int
    prototypes: int
    decoder: tuple[int, int, int]  # width, depth, heads
    batch: int
    dtype: str

    @property
    def stored(self) -> int:
        """Pixels of an image before it is cropped."""
        return self.image * 8 // 7


PAPER = Size(224, 96, 65_536, (512, 8, 16), 64, "bfloat16")
SMALL = Size(112, 48, 4_096, (512, 8, 16), 4, "float32")  # some seconds a step on a CPU


def posed(objective: str, model: str, variant: str, size: Size, batch: int) -> Problem:
    """The problem of training `objective` (see `RECIPES`) with a ViT `model`, at a global batch size."""
    for value, known, flag in (
        (objective, RECIPES, "objectives"),
        (model, MODELS, "models"),
        (variant, VARIANTS, "variants"),
    ):
        if value not in known:
            raise UserError(f"--{flag} {value}: unknown; known are {', '.join(known)}")
    config = plain(load(RECIPES[objective]))
    config |= {"batch_size": batch, "total_steps": 100_000}
    config = {k: v for k, v in config.items() if k not in ("total_epochs", "total_examples")}
    config["data"]["pretrain"]["size"] = size.stored
    config["model"] = _encoder(objective, config["model"], model, size, VARIANTS[variant])
    config["augment"] = _augment(objective, config["augment"], size)
    if objective == "mae":
        config["objective"] |= dict(zip(("decoder_width", "decoder_depth", "decoder_heads"), size.decoder, strict=True))
    if objective == "simclr":  # the recipe's LARS is for a ResNet
        config["optimizer"] = {"name": "adamw", "lr": 1e-4, "weight_decay": 0.05}
    if objective in ("dino", "dinov2"):
        config["objective"]["prototypes"] = size.prototypes
    return problem(config)


def _encoder(objective: str, recipe: dict[str, Any], model: str, size: Size, options: dict[str, Any]) -> dict[str, Any]:
    width, depth, heads, mlp_dim = MODELS[model]
    sizes = {"width": width, "depth": depth, "heads": heads, "mlp_dim": mlp_dim, "patch": 16, "dtype": size.dtype}
    base = {"target": "ssl_jax.models.vit:ViT"} if objective == "simclr" else recipe
    return base | sizes | options


def _augment(objective: str, recipe: dict[str, Any], size: Size) -> dict[str, Any]:
    if objective in ("dino", "dinov2"):
        return plain(preset_views(False, image=(objective, size.image), local=(f"{objective}_local", size.local)))
    views = {
        name: policy | ({"size": size.image} if "size" in policy else {}) for name, policy in recipe["views"].items()
    }
    return recipe | {"size": size.image, "views": views}
