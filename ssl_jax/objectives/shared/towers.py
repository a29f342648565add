"""What methods of several modalities share: an encoder for each, heads into one space, and which records are the same.

A method says what a pair of modalities learns (`start`, `compared`). A tower that is locked, or learned in part, is an adaptation
(`ssl_jax/adapt`): what is frozen lies in `extra/frozen/<tower>`, where no gradient and no moments are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.core import FrozenDict
from jax import Array

from ssl_jax.adapt.base import Adaptation, Full
from ssl_jax.data.pairs.together import SAME, Together
from ssl_jax.data.panels import Panel
from ssl_jax.data.sources.arrays import spread
from ssl_jax.errors import UserError
from ssl_jax.losses.contrastive import normalize, twins
from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.models.heads import ProjectionHead
from ssl_jax.models.tower import Tower
from ssl_jax.objectives.base import Batch, Column, Encoder, Keys, Out, Pairwise, Progress, State, Views
from ssl_jax.objectives.shared.forward import applied, arrays_of, forward, init_variables, single
from ssl_jax.objectives.shared.numbers import halves, whole
from ssl_jax.objectives.shared.similarity import similarities
from ssl_jax.objectives.shared.whole import Whole

FULL = Full()
EMBEDDING = "{}_embedding"
_LOOKED_AT = 16  # records, for what is the same in all of them


@dataclass(frozen=True)
class Towers(Pairwise):
    """Encoders `<name>` with a head `<name>_head` each, for the parts of `augment` of the same names.

    out: numbers of the space that they share.
    hidden: widths of the heads' hidden layers; () for a linear map.
    bias: whether linear heads have one.
    bare: towers without a head, whose features are `out` numbers already.
    adapt: what is learned of a tower, by name; all of it where it is not named. `Frozen` locks it (LiT, Zhai et al. 2021, arXiv
      2111.07991).
    method: how the loss is computed, not what it is (`losses/streamed/cost.py`).

    Records with the same picture, or the same caption, are no negatives of each other.
    """

    encoder: Mapping[str, nn.Module]
    augment: Together
    out: int = 512
    hidden: tuple[int, ...] = ()
    bias: bool = False
    bare: tuple[str, ...] = ()
    adapt: Mapping[str, Adaptation] = field(default_factory=FrozenDict)
    method: str = "auto"

    validated = (Column(title="partner found in the batch", value="recall", unit="percent"),)

    def __post_init__(self) -> None:
        object.__setattr__(self, "adapt", FrozenDict(self.adapt))  # so that it can be hashed
        _check_names(self)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The modalities that are compared."""
        first, second, *_ = self.augment.parts
        return ((first, second),)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The towers, and their heads."""
        return {**self.encoder, **{f"{name}_head": head for name, head in self.heads.items()}}

    @property
    def heads(self) -> dict[str, nn.Module]:
        """The head of each tower that has one, in the arithmetic of the tower."""
        init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
        biased = self.bias or bool(self.hidden)
        return {
            name: ProjectionHead(self.hidden, self.out, "none", dtype=tower.dtype, kernel_init=init, out_bias=biased)
            for name, tower in self.encoder.items()
            if name not in self.bare
        }

    def start(self) -> dict[str, Array]:
        """What is learned of a pair beside the towers, at first."""
        raise NotImplementedError

    def compared(self, learned: dict[str, Array], u: Array, v: Array, same: Array) -> Mean:
        """The loss of a pair: embeddings [B, D] of both sides, and their contents [B, 2, W] (`losses.contrastive.twins`)."""
        raise NotImplementedError

    def init(self, key: Array, views: Views) -> State:
        """`params`: towers, heads, and `logit/<pair>`. `extra`, as needed: `frozen`, `batch_stats`."""
        made = {name: self._drawn(name, jax.random.fold_in(key, i), views) for i, name in enumerate(self.encoder)}
        params = {part: tree for state in made.values() for part, tree in state.params.items()}
        stats = {name: state.extra["batch_stats"] for name, state in made.items() if state.extra}
        logit = {_named(pair): self.start() for pair in self.pairs}
        state = State(params | {"logit": logit}, {"batch_stats": stats} if stats else {})
        return self.parted(state, jax.random.fold_in(key, len(made)))

    def whole(self, state: State) -> State:
        """Towers with all their parameters."""
        extra = {name: x for name, x in state.extra.items() if name != "frozen"}
        return State(self._applied(state.params, state.extra), extra)

    def parted(self, state: State, key: Array) -> State:
        """Each tower as its adaptation parts it."""
        parts = {
            name: adapt.parted(state.params[name], jax.random.fold_in(key, i))
            for i, (name, adapt) in enumerate(self.adapt.items())
        }
        params = state.params | {name: part.learned for name, part in parts.items()}
        frozen = {name: part.frozen for name, part in parts.items() if part.frozen}
        return State(params, state.extra | ({"frozen": frozen} if frozen else {}))

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The views of every part, and what makes records the same."""
        return self.augment(keys.example, batch)

    def embed(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[dict[str, Array], Any]:
        """Embeddings [B, D] by tower, and `same` [B, K, W, 2] in floats; the new BatchNorm statistics."""
        made = {
            name: self._embedded(params, extra, name, self.seen(name, views), jax.random.fold_in(key, i))
            for i, name in enumerate(self.encoder)
        }
        stats = {name: new for name, (_, new) in made.items() if new is not None}
        return {name: z for name, (z, _) in made.items()} | {SAME: halves(views[SAME])}, stats or ()

    def score(self, params: dict, extra: dict, embeddings: dict[str, Array], progress: Progress) -> Out:
        """The loss of each pair, and what was learned of it."""
        same = whole(embeddings[SAME])
        terms = {}
        for a, b in self.pairs:
            learned = params["logit"][_named((a, b))]
            terms[_named((a, b))] = self.compared(learned, embeddings[a], embeddings[b], self._of((a, b), same))
        return Out(terms, {name: mean_of(value) for name, value in self._told(params)})

    def encoders(self) -> dict[str, Encoder]:
        """Every tower, and under `<name>_embedding` what it gives of the shared space."""
        towers = {name: self._encoder(name) for name in self.encoder}
        return towers | {EMBEDDING.format(name): self._embedding(name) for name in self.encoder}

    def embeddings(self, params: dict, extra: dict, batch: Batch) -> dict[str, Array]:
        """What the loss compares, by tower."""
        state = State(params, extra)
        made = ((name, self._embedding(name)) for name in self.encoder)
        return {name: encoder.features(encoder.variables(state), batch) for name, encoder in made}

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """How often the nearest of the batch is the partner, or the same; over both directions of all pairs."""
        ways = [way for a, b in self.pairs for way in ((a, b), (b, a))]
        z = self._unit(params, extra, views)
        found = [_found(z[a], z[b], self._of((a, b), views[SAME])) for a, b in ways]
        return {"recall": mean_of(jnp.stack(found, axis=1).mean(axis=1))}

    def show(self, params: dict, extra: dict, views: Views) -> dict[str, Panel]:
        """The similarities of a batch, as pictures."""
        z = self._unit(params, extra, views)
        return {f"{a} to {b}": similarities(z[a], z[b], a, b) for a, b in self.pairs}

    def check_source(self, source: Any) -> None:
        """UserError for records that lack a modality, or are all the same to one."""
        found = [self._contents(source, int(i)) for i in spread(len(source), _LOOKED_AT)]
        for i, name in enumerate(self.augment.parts):
            if len(found) > 1 and all(np.array_equal(x[i], found[0][i]) for x in found):
                raise UserError(
                    f"data.pretrain: {len(found)} records that were looked at have the same {name}; pairs are learned by telling "
                    f"them apart: name the field that differs, or other data"
                )

    def seen(self, name: str, views: Views) -> tuple[Array, ...]:
        """What a tower is given of the first view of each record."""
        given = tuple(views[key] for key in self.augment.parts[name].inputs)
        return arrays_of(single(given))

    def _drawn(self, name: str, key: Array, views: Views) -> State:
        """A fresh tower and its head: `params` by module, and `extra` with its BatchNorm statistics, if it has any."""
        tower, seen, head = self.encoder[name], self.seen(name, views), self.heads.get(name)
        _check_length(name, tower, seen)
        params, stats = init_variables(tower, key, *seen, method="features")
        h, _ = forward(tower, params, stats, *seen, method="features", noise=key)
        extra = {} if stats is None else {"batch_stats": stats}
        if head is None:
            _check_width(name, h.shape[-1], self.out)
            return State({name: params}, extra)
        top = head.init(jax.random.fold_in(key, 0), h)["params"]
        return State({name: params, f"{name}_head": top}, extra)

    def _embedded(self, params: dict, extra: dict, name: str, seen: tuple[Array, ...], key: Array) -> tuple[Array, Any]:
        """Embeddings [B, D], not yet normalised, and new BatchNorm statistics. A locked tower is as in evaluation."""
        tower, stats = self.encoder[name], extra.get("batch_stats", {}).get(name)
        h: Any
        whole = self._applied(params, extra)[name]
        if jax.tree.leaves(params[name]):
            h, new = forward(tower, whole, stats, *seen, method="features", noise=key)
        else:
            variables = {"params": whole} | ({} if stats is None else {"batch_stats": stats})
            h, new = tower.apply(variables, *seen, method="features"), stats
        keeps = name in self.adapt and not self.adapt[name].changes_statistics
        return self._projected(params, name, h), stats if keeps else new

    def _projected(self, params: dict, name: str, h: Array) -> Array:
        head = self.heads.get(name)
        return h if head is None else applied(head, params[f"{name}_head"], h)

    def _unit(self, params: dict, extra: dict, views: Views) -> dict[str, Array]:
        made = {name: self._embedding(name) for name in self.encoder}
        state = State(params, extra)
        return {
            name: encoder.module.apply(encoder.variables(state), *self.seen(name, views), method="features")  # type: ignore
            for name, encoder in made.items()
        }

    def _applied(self, params: dict, extra: dict) -> dict:
        frozen = extra.get("frozen", {})
        return params | {name: adapt.whole(params[name], frozen.get(name, {})) for name, adapt in self.adapt.items()}

    def _encoder(self, name: str) -> Encoder:
        tower, part = self.encoder[name], self.augment.parts[name]
        stats = ("extra", "batch_stats", name) if getattr(tower, "norm", None) == "batch" else ()
        return Encoder(
            tower, ("params", name), part.inputs, part.evaluation, stats,
            plain=part.plain, made=Whole(self), fitted=getattr(part, "fitted", None),
        )  # fmt: skip

    def _embedding(self, name: str) -> Encoder:
        tower = self._encoder(name)
        stats = ("extra", "batch_stats", "tower") if tower.stats else ()
        module = Tower(self.encoder[name], self.heads.get(name))
        return Encoder(
            module, ("params", "tower"), tower.inputs, tower.preprocess, stats,
            plain=tower.plain, made=WithHead(self, name), fitted=tower.fitted,
        )  # fmt: skip

    def _of(self, pair: tuple[str, str], same: Array) -> Array:
        """The contents [B, 2, W] of the two modalities of a pair, of those [B, K, W] of all."""
        names = tuple(self.augment.parts)
        return jnp.stack([same[:, names.index(name)] for name in pair], axis=1)

    def _contents(self, source: Any, index: int) -> np.ndarray:
        record = source[index]
        try:
            return np.asarray(self.augment.contents({k: np.asarray(v)[None] for k, v in record.items()}))[0]
        except KeyError as error:
            raise UserError(
                f"data.pretrain: record {index} has no field {error}, which {', '.join(self.encoder)} need; it has "
                f"{', '.join(sorted(record))}"
            ) from error

    def _told(self, params: dict) -> Iterator[tuple[str, Array]]:
        for pair in self.pairs:
            for name, value in params["logit"][_named(pair)].items():
                key = name if len(self.pairs) == 1 else f"{_named(pair)}_{name}"
                yield key, jnp.exp(value) if name == "scale" else value


@dataclass(frozen=True)
class WithHead:
    """From the trainer's state to one with a tower and its head together, where evaluation looks for them."""

    objective: Towers
    name: str

    def __call__(self, state: State) -> State:
        """`params/tower/{encoder,head}`, and its BatchNorm statistics."""
        params, extra = self.objective.whole(state)
        head = {"head": params[f"{self.name}_head"]} if f"{self.name}_head" in params else {}
        stats = extra.get("batch_stats", {}).get(self.name)
        return State(
            {"tower": {"encoder": params[self.name], **head}},
            {} if stats is None else {"batch_stats": {"tower": {"encoder": stats}}},
        )


def _named(pair: tuple[str, str]) -> str:
    return "_".join(pair)


def _found(u: Array, v: Array, same: Array) -> Array:
    """[B]: whether the nearest of `v` [B, D] to a row of `u` is its own, or the same."""
    own = jnp.eye(len(u), dtype=bool)
    right = own | twins(same, same)
    return jnp.take_along_axis(right, (normalize(u) @ normalize(v).T).argmax(axis=1)[:, None], axis=1)[:, 0].astype(
        jnp.float32
    )


def _check_names(towers: Towers) -> None:
    parts, named = tuple(towers.augment.parts), towers.encoder
    if not isinstance(named, Mapping) or set(named) != set(parts):
        found = ", ".join(named) if isinstance(named, Mapping) else "one model"
        raise UserError(
            f"augment.parts are {', '.join(parts)}, and model has {found}; name a model for each: "
            f"model=dict({', '.join(f'{part}=dict(target=...)' for part in parts)})"
        )
    for option in ("bare", "adapt"):
        for name in set(getattr(towers, option)) - set(parts):
            raise UserError(f"objective.{option}: there is no tower {name!r}; they are {', '.join(parts)}")


def _check_length(name: str, tower: nn.Module, seen: tuple[Array, ...]) -> None:
    """UserError for texts that are longer than the context of a tower."""
    longest = getattr(tower, "length", None)
    if longest is not None and getattr(tower, "positions", "") == "learned" and seen[0].shape[1] > longest:
        raise UserError(
            f"model.{name}.length={longest}, and the records have rows of {seen[0].shape[1]} tokens: cut them where they are "
            f"read (length={longest} of the source), or give the model more places"
        )


def _check_width(name: str, width: int, out: int) -> None:
    if width != out:
        raise UserError(
            f"objective.bare: {name} gives {width} numbers and objective.out={out}; leave it out of bare, or set out={width}"
        )
