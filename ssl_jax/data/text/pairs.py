"""Two texts or more in a record: a query and its passages, or a sentence, its like and its opposite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array

from ssl_jax.data.augment import Batch, Views
from ssl_jax.data.panels import Panel
from ssl_jax.data.text.views import TextViews, bag_of_tokens
from ssl_jax.data.units import Units
from ssl_jax.errors import UserError

PASSAGE = "passage"


@dataclass(frozen=True)
class PairViews(TextViews):
    """The field `query` int [T] of a record as the main view, and `passages` int [U] as views of the kind "passage".

    The first passage is the query's own, the others are its hard negatives; all are of one length.
    """

    query: str = "query"
    passages: tuple[str, ...] = ("passage",)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "passages", tuple(self.passages))

    @property
    def texts(self) -> tuple[str, ...]:
        """The fields of a record that hold tokens."""
        return (self.query, *self.passages)

    def __call__(self, keys: Array, batch: Batch) -> Views:
        """The `inputs` [B, V, T] of the query, and `passage/<input>` [B, P, U]."""
        missing = [name for name in self.texts if name not in batch]
        if missing:
            raise UserError(
                f"augment.passages: records have no field {missing[0]!r}; they have {', '.join(sorted(batch))}"
            )
        own = super().__call__(keys, batch)
        texts = [super(PairViews, self).evaluation({"tokens": batch[name]}) for name in self.passages]
        return own | {f"{PASSAGE}/{name}": jnp.stack([text[name] for text in texts], axis=1) for name in self.inputs}

    def evaluation(self, batch: Batch, policy: str = "") -> Batch:
        """The `inputs` [B, T] of the query, or of its own passage if `policy` is "passage"."""
        return super().evaluation({"tokens": batch[self.passages[0] if policy == PASSAGE else self.query]})

    def plain(self, batch: Batch, policy: str = "") -> Array:
        """The bag of tokens [B, V] of the query, or of its own passage if `policy` is "passage"."""
        text = self.evaluation(batch, policy)
        return bag_of_tokens(text["tokens"], text["segments"] > 0, self.words)

    def panel(self, views: Views) -> dict[str, Panel]:
        """The query, and its passages."""
        kinds = {name: views[f"{PASSAGE}/{name}"] for name in self.inputs}
        return {"query": super().panel(views)["tokens"], PASSAGE: super().panel(kinds)["tokens"]}

    def units(self, batch: Mapping[str, Any]) -> Units:
        """The tokens of all texts that are no padding."""
        texts = (super(PairViews, self).units({"tokens": batch[name]}) for name in self.texts)
        return {"tokens": sum(text["tokens"] for text in texts)}


@dataclass(frozen=True)
class PlainPassage:
    """`plain` of the passages; compares like a value, as `jit` needs."""

    augment: PairViews

    def __call__(self, batch: Batch) -> Array:
        """[B, V]."""
        return self.augment.plain(batch, policy=PASSAGE)
