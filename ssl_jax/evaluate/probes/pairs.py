"""Retrieval across two encoders: is the nearest text that of the picture, and the nearest picture that of the text?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.ranking import Side, measured, rankings


@dataclass(frozen=True)
class Probe:
    """Both directions between two `encoders` of the same records, by cosine over all test records.

    A record's counterpart is itself seen by the other encoder, and every record whose value of the field `same` is equal, if
    one is named (captions of one picture).

    group: a field whose values are groups of records, such as the language of a caption; each is also measured alone, among all
      candidates.
    shown: measures from the first encoder to the second that have a column beside recall at the first of `ks`, as
      ("mrr", "ndcg_10").
    """

    encoders: Sequence[str] = ("image", "text")
    ks: Sequence[int] = (1, 5, 10)
    same: str = ""
    group: str = ""
    shown: Sequence[str] = ()

    labelled: ClassVar = False

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that say which records belong together, and in which group a record is."""
        return tuple(filter(None, (self.same, self.group)))

    @property
    def columns(self) -> tuple[dict[str, str], ...]:
        """Recall at the first k, in both directions; and what else is `shown`."""
        a, b, k = *self.encoders, self.ks[0]
        short = {name: name.removesuffix("_embedding") for name in self.encoders}
        recall = tuple(
            {"title": f"{short[x]} to {short[y]} @{k}", "value": f"{x}_to_{y}_recall_{k}", "unit": "percent"}
            for x, y in ((a, b), (b, a))
        )
        more = (
            {"title": f"{short[a]} to {short[b]} {m}", "value": f"{a}_to_{b}_{m}", "unit": "percent"}
            for m in self.shown
        )
        return (*recall, *more)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        return f"pairs: cosine between {' and '.join(self.encoders)}, all test records as candidates, any counterpart counts"

    def run(self, split: Split) -> dict[str, Any]:
        """The measures of `retrieval` as `<a>_to_<b>_<measure>` and the other way round, with the recall at 1 by `chance`,
        and the number of `candidates`; with a `group`, the same for the queries of each of the `groups`.

        Raises UserError where the encoders give rows of different lengths.
        """
        parts = {name: split.towers[name].test for name in self.encoders}
        widths = {name: part.x.shape[1] for name, part in parts.items()}
        if len(set(widths.values())) > 1:
            raise UserError(
                f"pairs: the encoders give {widths} numbers, which no cosine compares; name those of the shared space"
            )
        (a, x), (b, y) = parts.items()
        of = x.fields[self.same] if self.same else x.ids
        found = {f"{p}_to_{q}": self._way(parts[p].x, parts[q].x, of) for p, q in ((a, b), (b, a))}
        flat = {f"{way}_{name}": value for way, each in found.items() for name, value in each.items()}
        apart = {"groups": self._groups(parts[a].x, parts[b].x, of, x.fields[self.group])} if self.group else {}
        return flat | apart | {"candidates": len(y.x), "interval": found[f"{a}_to_{b}"]["interval"]}

    def _groups(self, x: np.ndarray, y: np.ndarray, of: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
        """The measures of both ways for the queries of each group."""
        a, b = self.encoders
        rows = {str(value): groups == value for value in np.unique(groups)}
        both = {f"{a}_to_{b}": (x, y), f"{b}_to_{a}": (y, x)}
        return {
            value: {way: self._way(*sides, of, chosen) for way, sides in both.items()} for value, chosen in rows.items()
        }

    def _way(
        self, queries: np.ndarray, bank: np.ndarray, of: np.ndarray, chosen: np.ndarray | None = None
    ) -> dict[str, Any]:
        rows = np.arange(len(of))
        asked = rows if chosen is None else np.flatnonzero(chosen)
        found = measured(rankings(Side(queries[asked], of[asked], asked), Side(bank, of, -1 - rows)), self.ks)
        return found | {"chance": _chance(of[asked], of)}


def _chance(queries: np.ndarray, bank: np.ndarray) -> float:
    """The mean share of the bank that is a query's counterpart: both by what makes them the same."""
    values, counts = np.unique(bank, return_counts=True)
    return float(counts[np.searchsorted(values, queries)].mean() / len(bank))
