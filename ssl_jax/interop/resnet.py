"""Residual networks of timm and torchvision, which have the same names."""

from __future__ import annotations

from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.interop.family import Facts, Family, Model
from ssl_jax.interop.rules import Rule, rule
from ssl_jax.interop.transforms import convolution
from ssl_jax.interop.vit import rgb
from ssl_jax.models.resnet import DEPTHS


def batch_norm(theirs: str, ours: str) -> tuple[Rule, ...]:
    """BatchNorm, with its statistics."""
    parts = {"weight": f"{ours}/bn/scale", "bias": f"{ours}/bn/bias"}
    parts |= {f"running_{n}": f"batch_stats/{ours}/bn/{n}" for n in ("mean", "var")}
    return tuple(rule(f"{theirs}.{name}", path) for name, path in parts.items())


def convolved(theirs: str, norm: str, ours: str, normed: str) -> tuple[Rule, ...]:
    """A convolution and the norm after it."""
    return rule(f"{theirs}.weight", f"{ours}/kernel", convolution), *batch_norm(norm, normed)


def block(theirs: str, ours: str, bottleneck: bool) -> tuple[Rule, ...]:
    """One block; the shortcut has a convolution where sizes change."""
    last = 3 if bottleneck else 2
    made = [
        convolved(f"{theirs}conv{i}", f"{theirs}bn{i}", f"{ours}/conv{i}", f"{ours}/norm{'_last' if i == last else i}")
        for i in range(1, last + 1)
    ]
    made.append(
        convolved(f"{theirs}downsample.0", f"{theirs}downsample.1", f"{ours}/shortcut", f"{ours}/norm_shortcut")
    )
    return tuple(each for rules in made for each in rules)


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names."""
    published, bottleneck = DEPTHS[model["depth"]]
    stages = model.get("blocks") or published
    places = [(i, j) for i, blocks in enumerate(stages, 1) for j in range(blocks)]
    blocks = (block(f"layer{i}.{j}.", f"stage{i}_block{j + 1}", bottleneck) for i, j in places)
    return (*convolved("conv1", "bn1", "conv_stem", "norm_stem"), *(each for found in blocks for each in found))


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section. UserError for a depth that is not ours."""
    blocks = tuple(facts.count(f"layer{i}.{{}}.") for i in range(1, 5)), "layer1.0.conv3.weight" in facts.tensors
    depth = next((depth for depth, form in DEPTHS.items() if form == blocks), None)
    if depth is None:
        raise UserError(
            f"a residual network of {blocks[0]} blocks is not built here; use one of {', '.join(map(str, DEPTHS))}"
        )
    width, window = facts.shape("conv1.weight")[0], facts.shape("conv1.weight")[-1]
    return {
        "target": "ssl_jax.models.resnet:ResNet",
        "depth": depth,
        "width": width,
        "stem": "imagenet" if window == 7 else "small",
    }


RESNET = Family(
    "resnet",
    "ResNet-18/34/50/101 of timm and torchvision; MoCo, SimCLR, BYOL, SwAV, VICReg, ... trained with them",
    ("conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer4.0.conv1.weight"),
    model,
    rules,
    types=("resnet",),
    beside=r"(fc|head|projection_head|prototypes)\.|.*num_batches_tracked$",
    pixels=rgb,
)
