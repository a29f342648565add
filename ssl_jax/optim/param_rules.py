"""What depends on the parameter: groups by path, decay, freezing, layer-wise rates, and clipping.

A group is `(path regex, {key: value})`; all groups that match a path apply, and the first to give a key wins. Keys:

* lr_scale: factor on the learning rate. lr: a constant rate instead of the schedule's.
* weight_decay: factor on the decay; wins over the names that are not decayed.
* freeze_until: steps in which the parameter, its moments and its step count in Adam stay as they are (DINO's last layer).
* zero_lr_until: steps in which only the parameter stays, while its moments gather (DINOv2's last layer).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from ssl_jax.devices.mesh import STACK, path_name
from ssl_jax.errors import UserError

Groups = Sequence[tuple[str, Mapping[str, float]]]
CLIPS = ("global", "module", "tensor")
# Not decayed by default: biases, norm parameters, LayerScale, tokens, position tables and temperatures (MAE, I-JEPA, SimCLR; Swin
# for tables of relative positions; DINOv2; CLIP). By name, not by rank: the layer axis makes a stacked bias look like a matrix.
NO_DECAY = (
    r"(^|/)(bias|scale|layer_scale\d|class_token|cls_token|class_position|positions|registers|mask_token|logit_scale|logit_bias"
    r"|(relative_position|relative_attention|rel_pos|relpos)_bias(_table)?(/.*)?|rel_embedding)$"
)
# What lies before the first block, layer 0 of layer-wise rates (BEiT, arXiv 2106.08254, appendix; DINOv2): tokens, position
# tables, and every embedding (of patches, words, segments, positions).
INPUT_LAYER = (
    r"(^|/)(class_token|cls_token|class_position|positions|registers|mask_token"
    r"|(\w+_)?embed(dings?)?(/.*)?)$"
)
# Tables of words, wherever they are held: the leaf of `flax.linen.Embed`, or a module named for its tokens.
TOKEN_TABLE = r"(^|/)((token|word)_embed(dings?)?(/.*)?|embedding)$"


class CountState(NamedTuple):
    """How many updates were applied."""

    count: Array  # type: ignore[assignment]  # hides tuple.count, which nobody calls; the name is in every checkpoint


def no_updates_yet(params: Any) -> CountState:
    """The state before the first update."""
    return CountState(jnp.zeros((), jnp.int32))


def rule_for(groups: Groups, name: str) -> dict[str, float]:
    """The keys of all groups that match the path `name`; the first to give a key wins."""
    rule: dict[str, float] = {}
    for pattern, keys in groups:
        if re.search(pattern, name):
            rule = dict(keys) | rule
    return rule


def decay_factor(groups: Groups, no_decay: str, name: str) -> float:
    """The factor on weight decay of the path `name`: its group's, or 0 where `no_decay` matches and 1 elsewhere."""
    return rule_for(groups, name).get("weight_decay", 0.0 if matches(no_decay, name) else 1.0)


def rules_told(groups: Groups, names: Iterable[str], no_decay: str = NO_DECAY) -> dict[str, list[str]]:
    """What holds for which parameters, for a reader: `decay x 0`, `decay x 1, lr_scale=0.2`: the ends of their paths."""
    told: dict[str, set[str]] = {}
    for name in names:
        others = {k: v for k, v in sorted(rule_for(groups, name).items()) if k != "weight_decay"}
        rule = [f"decay x {decay_factor(groups, no_decay, name):g}", *(f"{k}={v}" for k, v in others.items())]
        told.setdefault(", ".join(rule), set()).add("/".join(re.sub(r"\d+", "N", name).split("/")[-2:]))
    return {rule: sorted(ends) for rule, ends in sorted(told.items())}


def matches(pattern: str, name: str) -> bool:
    """Whether the regex `pattern` is found in the path `name`; an empty one matches nothing."""
    return bool(pattern and re.search(pattern, name))


def map_named(function: Any, *trees: Any) -> Any:
    """`function(path name, *leaves)` over trees of one structure."""
    return jax.tree_util.tree_map_with_path(lambda path, *leaves: function(path_name(path), *leaves), *trees)


def with_groups(optimizer: optax.GradientTransformation, groups: Groups) -> optax.GradientTransformation:
    """`optimizer`, blind to parameters while they are frozen: it sees 0 for them and their gradients, and moves nothing.

    Raises UserError at `init` for a regex that matches no parameter.
    """
    if not groups:
        return optimizer

    def init(params: Any) -> tuple:
        names = [path_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
        for pattern, _ in groups:
            if not any(re.search(pattern, name) for name in names):
                raise UserError(f"optimizer.groups: {pattern!r} matches no parameter; there are {', '.join(names)}")
        return no_updates_yet(params), optimizer.init(params)

    def update(updates: Any, state: tuple, params: Any) -> tuple[Any, tuple]:
        (count,), inner = state

        def thawed(name: str, x: Array) -> Array:
            until = rule_for(groups, name).get("freeze_until", 0)
            return jnp.where(count >= until, x, jnp.zeros_like(x)) if until else x

        updates, inner = optimizer.update(map_named(thawed, updates), inner, map_named(thawed, params))
        return map_named(thawed, updates), (CountState(count + 1), inner)

    return optax.GradientTransformation(init, update)


def unbiased(moment: Array, decay: float, steps: Array) -> Array:
    """A moving average that began at 0, divided by the weight that it has given out (Kingma & Ba 2014, section 3)."""
    return moment / (1 - jnp.asarray(decay, moment.dtype) ** steps)


def as_it_is(moment: Array, decay: float, steps: Array) -> Array:
    """A moving average without a correction."""
    return moment


def scale_by_adam(
    b1: float,
    b2: float,
    eps: float,
    groups: Groups = (),
    corrected: Callable[[Array, float, Array], Array] = unbiased,
) -> optax.GradientTransformation:
    """Adam's direction (Kingma & Ba 2014, arXiv 1412.6980); the bias correction counts steps since `freeze_until`."""

    def init(params: Any) -> optax.ScaleByAdamState:
        zeros = lambda: jax.tree.map(jnp.zeros_like, params)  # noqa: E731
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), zeros(), zeros())

    def update(updates: Any, state: optax.ScaleByAdamState, params: Any) -> tuple[Any, optax.ScaleByAdamState]:
        count = state.count + 1
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, updates)

        def direction(name: str, m: Array, v: Array) -> Array:
            steps = jnp.maximum(count - rule_for(groups, name).get("freeze_until", 0), 1)
            m, v = (corrected(x, b, steps) for x, b in ((m, b1), (v, b2)))
            return m / (jnp.sqrt(v) + eps)

        return map_named(direction, mu, nu), optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def scale_by_layer(decay: float, encoders: Sequence[str] = ("encoder",)) -> optax.GradientTransformation:
    """The update of layer l of an encoder, out of L blocks, times `decay^(L + 1 - l)` (BEiT; DINOv2).

    `encoders` are the names of the encoders in the parameters, each with its own depth. What embeds their input is layer 0,
    blocks 1 to L; everything after them, and other modules, keep their update. A table of tokens in another module counts
    as layer 0 of the deepest encoder. Raises UserError where no encoder has a stack.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        depths = {name: _depth(updates.get(name, {})) for name in encoders}
        deepest = max(depths.values(), default=0)
        if not deepest:
            raise UserError("optimizer.layer_decay needs an encoder with transformer blocks; leave it out")

        def scale(name: str, u: Array) -> Array:
            module = name.partition("/")[0]
            if module not in depths:
                return u * decay ** (deepest + 1) if re.search(TOKEN_TABLE, name) else u
            if in_stack(name):
                return u * (decay ** jnp.arange(u.shape[0], 0, -1, u.dtype)).reshape(-1, *[1] * (u.ndim - 1))
            at_input = depths[module] and re.search(INPUT_LAYER, name)
            return u * decay ** (depths[module] + 1) if at_input else u

        return map_named(scale, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _depth(module: Any) -> int:
    """Layers of the deepest stack in the parameters of a module, 0 without one."""
    leaves = jax.tree_util.tree_flatten_with_path(module)[0]
    return max((leaf.shape[0] for path, leaf in leaves if in_stack(path_name(path))), default=0)


def clip_norm(limit: float, by: str = "global") -> optax.GradientTransformation:
    """Gradients scaled down to a norm of `limit`: of all of them, of each `module` (encoder, heads), or of each `tensor`.

    Stacked layers have one norm each under `tensor`. The last two divide by norm + 1e-6, as the code of DINO and DINOv2.
    """
    if by not in CLIPS:
        raise UserError(f"optimizer.clip_by={by!r} is unknown; use one of {', '.join(CLIPS)}")
    if by == "global":
        return optax.clip_by_global_norm(limit)

    def shrink(g: Array, norm: Array) -> Array:
        return g * jnp.minimum(1.0, limit / (norm + 1e-6)).astype(g.dtype)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if by == "tensor":
            return map_named(lambda name, g: shrink(g, layer_norms(name, g)), updates), state
        norms = {name: optax.global_norm(module) for name, module in updates.items()}
        return {k: jax.tree.map(lambda g: shrink(g, norms[k]), module) for k, module in updates.items()}, state  # noqa: B023

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def layer_norms(name: str, x: Array) -> Array:
    """The Euclidean norm of a parameter, or of each layer of a stack, with axes kept."""
    axes = tuple(range(1 if in_stack(name) else 0, x.ndim))
    return jnp.sqrt(jnp.sum(jnp.square(x), axes, keepdims=True))


def in_stack(name: str) -> bool:
    """Whether the path `name` belongs to a stack of layers, so that axis 0 of its array counts them."""
    return f"/{STACK}/" in f"/{name}"
