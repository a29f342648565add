"""A part of the encoder is learned: its last blocks, its norms, its biases, or what has a path like this."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jax import Array

from ssl_jax.adapt.base import Adaptation, Parted, Tree, leaves_of, split_by, tree_of
from ssl_jax.errors import UserError
from ssl_jax.optim.param_rules import in_stack, matches

INPUT = r"(^|/)(class_token|class_position|positions|registers|mask_token|\w*embed\w*|tokens|places|kinds|relative|normed)(/|$)"


@dataclass(frozen=True)
class Matching(Adaptation):
    """The parameters in whose path the regex `pattern` is found."""

    pattern: str

    def __post_init__(self) -> None:
        check_regex(self.pattern, "pattern")

    def parted(self, params: Tree, key: Array) -> Parted:
        """By path. UserError where none matches."""
        parted = split_by(params, lambda path: matches(self.pattern, path))
        if not parted.learned:
            raise UserError(f"{type(self).__name__}: {none_matches(self.pattern, params)}")
        return parted


@dataclass(frozen=True)
class Norms(Matching):
    """Scales and offsets of all norms (Frankle, Schwab, Morcos 2020, arXiv 2003.00152)."""

    pattern: str = r"norm\w*/(.*/)?(scale|bias)$"


@dataclass(frozen=True)
class Biases(Matching):
    """All biases (Ben Zaken, Ravfogel, Goldberg 2021, "BitFit", arXiv 2106.10199)."""

    pattern: str = r"(^|/)bias$"


@dataclass(frozen=True)
class Adapters(Matching):
    """The bottlenecks that `model.adapter` puts after each branch, and the norms (Houlsby et al. 2019, arXiv 1902.00751)."""

    pattern: str = r"(adapter\w*/|norm\w*/(.*/)?(scale|bias)$)"

    def parted(self, params: Tree, key: Array) -> Parted:
        """UserError where the model has no adapters."""
        if not any("adapter" in path for path, _ in leaves_of(params)):
            raise UserError(
                "Adapters: the model has none; set model.adapter to their width, 8 to 64, or learn another part"
            )
        return super().parted(params, key)


@dataclass(frozen=True)
class LastBlocks(Adaptation):
    """The last `count` blocks of a stack and what comes after it."""

    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"objective.adapt.count={self.count}: learn 1 block or more, or none with Frozen")

    def parted(self, params: Tree, key: Array) -> Parted:
        """Stacks are cut along their layer axis. UserError where there is none, or it has fewer blocks."""
        leaves = dict(leaves_of(params))
        depths = {len(x) for path, x in leaves.items() if in_stack(path)}
        if not depths or self.count > min(depths):
            held = f"the encoder has {min(depths)}" if depths else "the encoder has no stack of transformer blocks"
            raise UserError(f"objective.adapt.count={self.count}: {held}; learn Full, or another part of it")
        stacked = {path: x for path, x in leaves.items() if in_stack(path)}
        after = {path: x for path, x in leaves.items() if path not in stacked and not re.search(INPUT, path)}
        below = {path: x for path, x in leaves.items() if path not in stacked and path not in after}
        top = {path: x[-self.count :] for path, x in stacked.items()}
        bottom = {path: x[: -self.count] for path, x in stacked.items() if len(x) > self.count}
        return Parted(tree_of(after | top), tree_of(below | bottom))


def check_regex(pattern: str, option: str) -> None:
    """UserError unless it is one."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError(f"objective.adapt.{option}={pattern!r} is no regular expression: {error}") from None


def none_matches(pattern: str, params: Tree) -> str:
    """The end of a message: what could have matched."""
    return (
        f"{pattern!r} matches no parameter of the encoder; there are {', '.join(path for path, _ in leaves_of(params))}"
    )
