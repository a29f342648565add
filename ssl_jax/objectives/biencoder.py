"""Two encoders, or one for both: a query and its own passage attract, the passages of all other queries repel.

Karpukhin et al. 2020, "Dense Passage Retrieval", arXiv 2004.04906; Gao, Zhang, Han, Callan 2021, "GradCache", arXiv 2101.06983;
nested dimensions of Kusupati et al. 2022, "Matryoshka Representation Learning", arXiv 2205.13147.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.data.augment import KindOfView, View, other_kinds
from ssl_jax.data.text.pairs import PASSAGE, PairViews, PlainPassage
from ssl_jax.errors import UserError
from ssl_jax.losses.contrastive import normalize
from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.losses.streamed.contrastive import passage_info_nce
from ssl_jax.objectives.base import Batch, Column, Encoder, Keys, Out, Pairwise, Preprocess, Progress, State, Views
from ssl_jax.objectives.shared.forward import applied, arrays_of, drawing, single
from ssl_jax.objectives.shared.joint import require_positive
from ssl_jax.objectives.shared.numbers import halves, whole

QUERY = "query"
TOWERS = (QUERY, PASSAGE)


@dataclass(frozen=True)
class BiEncoder(Pairwise):
    """Cross-entropy of each query's own passage among those of the global batch and their hard negatives.

    The recipe's `model` is one encoder for both texts, or `dict(query=..., passage=...)`.

    temperature: of the similarities. cosine: whether they are of unit vectors; DPR's are products, at temperature 1.
    symmetric: also that of each passage's own query.
    same: a field of the records; where two have the same number, their passages are no negatives of each other.
    dims: the loss is the mean over the first so many numbers of the embeddings, for each of `dims`; () for all of them only.
    method: how the loss is computed, not what it is (`losses/streamed/cost.py`).
    """

    augment: PairViews
    temperature: float = 0.05
    cosine: bool = True
    symmetric: bool = False
    same: str = ""
    dims: tuple[int, ...] = ()
    method: str = "auto"

    validated = (Column(title="passage found in the batch", value="recall", unit="percent"),)

    def __post_init__(self) -> None:
        require_positive(temperature=self.temperature)
        if isinstance(self.encoder, Mapping) and set(self.encoder) != set(TOWERS):
            raise UserError(
                f"a bi-encoder has the models {' and '.join(TOWERS)}, or one; model has {', '.join(self.encoder)}"
            )
        widths = [tower.width for tower in self.towers.values()]
        if any(not 0 < d <= min(widths) for d in self.dims):
            raise UserError(f"objective.dims={self.dims}: the embeddings have {min(widths)} numbers")

    @property
    def towers(self) -> dict[str, nn.Module]:
        """The encoder of each text."""
        return {name: self.encoder[name] if isinstance(self.encoder, Mapping) else self.encoder for name in TOWERS}

    def init(self, key: Array, views: Views) -> State:
        """Parameters of the encoders."""
        keys = jax.random.split(key, len(self.modules))
        kinds = self._kinds(views) | {"encoder": self.given(views)}
        fresh = {
            name: module.init(k, *arrays_of(single(kinds[name])), method="features")["params"]
            for k, (name, module) in zip(keys, self.modules.items(), strict=True)
        }
        return State(fresh, {})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The texts, and the numbers by which records are told to be the same, if there are any."""
        same = {"same": halves(batch[self.same])} if self.same else {}
        return self.augment(keys.example, batch) | same

    def embed(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[dict[str, Array], tuple]:
        """`query` [B, 1, D] and `passage` [B, P, D], and `same` [B, 2] if there is one."""
        found = {
            name: self._embedded(params, name, kind, jax.random.fold_in(key, i))
            for i, (name, kind) in enumerate(self._kinds(views).items())
        }
        return found | ({"same": views["same"]} if self.same else {}), ()

    def score(self, params: dict, extra: dict, embeddings: dict[str, Array], progress: Progress) -> Out:
        """The mean over `dims`."""
        terms = {str(d): self._loss(embeddings, d) for d in self.dims or (embeddings[QUERY].shape[-1],)}
        return Out({name: Mean(term.total / len(terms), term.weight) for name, term in terms.items()})

    def encoders(self) -> dict[str, Encoder]:
        """One of queries and one of passages."""
        paths = {name: ("params", name if isinstance(self.encoder, Mapping) else "encoder") for name in TOWERS}
        made: dict[str, Preprocess] = {QUERY: self.augment.evaluation, PASSAGE: KindOfView(self.augment, PASSAGE)}
        inputs, towers, fitted = self.augment.inputs, self.towers, self.augment.fitted
        plain: dict[str, Callable[[Batch], Array]] = {QUERY: self.augment.plain, PASSAGE: PlainPassage(self.augment)}
        return {
            name: Encoder(towers[name], paths[name], inputs, made[name], plain=plain[name], fitted=fitted)
            for name in TOWERS
        }

    def embeddings(self, params: dict, extra: dict, batch: Batch) -> dict[str, Array]:
        """What the loss compares, by text."""
        found = {name: encoder.preprocess(batch) for name, encoder in self.encoders().items()}
        texts = {name: tuple(text[k][:, None] for k in self.augment.inputs) for name, text in found.items()}
        return {name: normalize(self._embedded(params, name, text)[:, 0]) for name, text in texts.items()}

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """How often a query's own passage is the nearest of the batch."""
        z = {name: self._embedded(params, name, kind)[:, 0] for name, kind in self._kinds(views).items()}
        z = {name: normalize(x) if self.cosine else x for name, x in z.items()}
        nearest = (z[QUERY] @ z[PASSAGE].T).argmax(axis=1)
        return {"recall": mean_of((nearest == jnp.arange(len(nearest))).astype(jnp.float32))}

    def _kinds(self, views: Views) -> dict[str, View]:
        return {QUERY: self.given(views), PASSAGE: other_kinds(views, self.augment.inputs)[PASSAGE]}

    def _embedded(self, params: dict, name: str, view: View, key: Array | None = None) -> Array:
        texts = arrays_of(view)
        batch, count = texts[0].shape[:2]
        weights = params[name if isinstance(self.encoder, Mapping) else "encoder"]
        rows = (x.reshape(batch * count, -1) for x in texts)
        h = applied(self.towers[name], weights, *rows, train=key is not None, method="features", **drawing(key))
        return h.reshape(batch, count, -1)

    def _loss(self, embeddings: dict[str, Array], dim: int) -> Mean:
        q, p = (embeddings[name][..., :dim] for name in TOWERS)
        q, p = (normalize(q), normalize(p)) if self.cosine else (q, p)
        same = whole(embeddings["same"]) if self.same else None
        forth = passage_info_nce(q[:, 0], p, self.temperature, same=same, method=self.method)
        if not self.symmetric:
            return forth
        back = passage_info_nce(p[:, 0], q, self.temperature, same=same, method=self.method)
        return Mean((forth.total + back.total) / 2, forth.weight)
