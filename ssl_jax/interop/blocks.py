"""Rules that tables share: linear layers, norms, and a transformer's block under whatever names."""

from __future__ import annotations

from ssl_jax.interop.rules import Rule, rule
from ssl_jax.interop.transforms import Transform, apart, chain, same, split_first, split_last, stack, transpose

KINDS = {"all": (0, 1, 2), "query_value": (0, 2), "none": ()}  # of queries, keys and values: which have a bias


def linear(theirs: str, ours: str) -> tuple[Rule, ...]:
    """A linear layer; one without a bias has the first rule alone."""
    return rule(f"{theirs}.weight", f"{ours}/kernel", transpose), rule(f"{theirs}.bias", f"{ours}/bias")


def norm(theirs: str, ours: str) -> tuple[Rule, ...]:
    """A LayerNorm, or an RMSNorm, which has no bias."""
    return rule(f"{theirs}.weight", f"{ours}/scale"), rule(f"{theirs}.bias", f"{ours}/bias")


def table(theirs: str, ours: str) -> tuple[Rule, ...]:
    """An embedding."""
    return (rule(f"{theirs}.weight", f"{ours}/embedding"),)


def fused(theirs: str, ours: str, heads: int, kernel: Transform = transpose) -> tuple[Rule, ...]:
    """Queries, keys and values in one layer, heads side by side in each."""
    split = split_last(3, heads)
    return (
        rule(f"{theirs}.weight", f"{ours}/kernel", chain(kernel, split)),
        rule(f"{theirs}.bias", f"{ours}/bias", split),
    )


def separate(
    theirs: tuple[str, ...], ours: str, heads: int, biased: tuple[int, ...] = (0, 1, 2), *heads_as: Transform
) -> tuple[Rule, ...]:
    """Layers side by side in one of ours, each cut into heads; `biased` have a bias, `heads_as` changes each one's heads."""
    change = apart(*heads_as) if heads_as else same
    of_biased = apart(*(heads_as[i] for i in biased)) if heads_as else same
    kernels = tuple(f"{name}.weight" for name in theirs)
    biases = tuple(f"{theirs[i]}.bias" for i in biased)
    made = (rule(kernels, f"{ours}/kernel", chain(transpose, split_last(heads), change, stack(1))),)
    return made + ((rule(biases, f"{ours}/bias", chain(split_last(heads), of_biased, stack(0))),) if biases else ())


def single(theirs: str, ours: str, heads: int) -> tuple[Rule, ...]:
    """A linear layer whose output is cut into heads."""
    return (
        rule(f"{theirs}.weight", f"{ours}/kernel", chain(transpose, split_last(heads))),
        rule(f"{theirs}.bias", f"{ours}/bias", split_last(heads)),
    )


def joined(theirs: str, ours: str, heads: int, kernel: Transform = transpose) -> tuple[Rule, ...]:
    """The projection that joins heads again."""
    return rule(f"{theirs}.weight", f"{ours}/kernel", chain(kernel, split_first(heads))), rule(
        f"{theirs}.bias", f"{ours}/bias"
    )


def gated(gate: str, up: str, ours: str) -> tuple[Rule, ...]:
    """The first layer of an MLP with a gate: two layers in one of ours."""
    return (
        rule((f"{gate}.weight", f"{up}.weight"), f"{ours}/kernel", chain(transpose, stack(-2))),
        rule((f"{gate}.bias", f"{up}.bias"), f"{ours}/bias", stack(-2)),
    )


def gated_fused(theirs: str, ours: str) -> tuple[Rule, ...]:
    """The same where the file has one layer, the gate's half first."""
    return (
        rule(f"{theirs}.weight", f"{ours}/kernel", chain(transpose, split_last(2))),
        rule(f"{theirs}.bias", f"{ours}/bias", split_last(2)),
    )
