"""TF-C: a series and its spectrum say the same, and each of them the same as its own other view.

Zhang, Zhao, Tsiligkaridis, Zitnik 2022, "Self-Supervised Contrastive Pre-Training for Time Series via
Time-Frequency Consistency", arXiv 2206.08496.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.data.series.ops import spectrum_changed
from ssl_jax.data.series.views import SeriesViews
from ssl_jax.errors import UserError
from ssl_jax.losses.contrastive import normalize
from ssl_jax.losses.streamed.contrastive import nt_xent
from ssl_jax.models.heads import ProjectionHead
from ssl_jax.models.series import TimeFrequency
from ssl_jax.models.windows import spectrum
from ssl_jax.objectives.base import Batch, Keys, Out, Pairwise, Progress, State, Views
from ssl_jax.objectives.shared.forward import applied, single
from ssl_jax.objectives.shared.joint import require_positive

PARTS = ("time", "frequency")


@dataclass(frozen=True)
class TFC(Pairwise):
    """NT-Xent between two views of the series, between two of its spectrum, and consistency of both kinds (eq. 1 to 4).

    `share` is lambda: of the contrasts inside time and inside frequency; consistency has the rest. Consistency is the sum of
    `d(z_t, z_f) - d(pair) + margin` over the three pairs in which one or both are a changed view, with d the NT-Xent of a pair.
    The two views of a series are the record and what the augmentation makes of it.

    Fidelity: d of eq. 3 is NT-Xent over the batch, as in the authors' code. Spectra are changed as section 4.2 says: a share of
    the frequencies is left out, others are raised to as much as a tenth of the largest magnitude.
    """

    encoder: TimeFrequency
    augment: SeriesViews
    temperature: float = 0.2
    share: float = 0.2
    margin: float = 1.0
    removed: float = 0.1
    added: float = 0.1
    hidden: int = 256
    out: int = 128

    def __post_init__(self) -> None:
        require_positive(temperature=self.temperature)
        if not 0 <= self.share <= 1:
            raise UserError(f"objective.share={self.share} must be between 0 and 1; the authors' code has 0.2")
        if self.augment.count != 1:
            raise UserError(f"tfc compares a series with one view of it; set augment.count=1, not {self.augment.count}")

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The encoders of both kinds, and a head for each."""
        head = ProjectionHead((self.hidden,), self.out, norm="none", dtype=self.encoder.dtype)
        return {"encoder": self.encoder, **{f"{part}_head": head for part in PARTS}}

    def init(self, key: Array, views: Views) -> State:
        """Parameters of all."""
        keys, given = jax.random.split(key, 3), single(self._arrays(views))
        encoder = self.encoder.init(keys[0], *given, method="pair")["params"]
        h = jax.eval_shape(lambda: applied(self.encoder, encoder, *given, method="pair"))
        heads = zip(PARTS, keys[1:], h, strict=True)
        inits = {
            f"{p}_head": self.modules[f"{p}_head"].init(k, jnp.zeros(x.shape, x.dtype))["params"] for p, k, x in heads
        }
        return State({"encoder": encoder, **inits}, {})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The record and a view of it, `series` and `valid` [B, 2, T, C], and `spectrum` [B, 2, F, C]: of the record, and that
        changed."""
        record, view = self.augment.evaluation(batch), self.augment(keys.example, batch)
        both = {name: jnp.stack([record[name], view[name][:, 0]], axis=1) for name in self.augment.inputs}
        whole = spectrum(record["series"], record["valid"])
        draw = lambda key, x: spectrum_changed(jax.random.fold_in(key, 1), x, self.removed, self.added)  # noqa: E731
        return both | {"spectrum": jnp.stack([whole, jax.vmap(draw)(keys.example, whole)], axis=1)}

    def embed(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[dict[str, Array], tuple]:
        """Unit vectors of time and frequency [B, 2, out], of the record and of its view."""
        arrays = self._arrays(views)
        rows = (x.reshape(-1, *x.shape[2:]) for x in arrays)
        h = applied(self.encoder, params["encoder"], *rows, train=True, method="pair")
        return self._projected(params, h, (len(arrays[0]), 2)), ()

    def score(self, params: dict, extra: dict, embeddings: dict[str, Array], progress: Progress) -> Out:
        """The terms `time`, `frequency` and `consistency`."""
        (t, t_view), (f, f_view) = (jnp.moveaxis(embeddings[part], 1, 0) for part in PARTS)
        apart = lambda a, b: nt_xent(a, b, self.temperature)  # noqa: E731
        inside = {"time": apart(t, t_view), "frequency": apart(f, f_view)}
        own, mixed = apart(t, f), [apart(t, f_view), apart(t_view, f), apart(t_view, f_view)]
        total = sum(
            (own.total - pair.total + self.margin * own.weight for pair in mixed), jnp.zeros((), own.total.dtype)
        )
        losses = {name: loss._replace(total=self.share * loss.total) for name, loss in inside.items()}
        return Out(losses | {"consistency": own._replace(total=(1 - self.share) * total)})

    def embeddings(self, params: dict, extra: dict, batch: Batch) -> dict[str, Array]:
        """What the loss compares, [B, out], of records."""
        record = self.augment.evaluation(batch)
        h = applied(self.encoder, params["encoder"], *record.values(), spectrum(*record.values()), method="pair")
        return self._projected(params, h, (len(h[0]),))

    def _projected(self, params: dict, h: tuple[Array, Array], rows: tuple[int, ...]) -> dict[str, Array]:
        made = {p: applied(self.modules[f"{p}_head"], params[f"{p}_head"], x) for p, x in zip(PARTS, h, strict=True)}
        return {part: normalize(z).reshape(*rows, -1) for part, z in made.items()}

    def _arrays(self, views: Views) -> tuple[Array, ...]:
        return (*(views[name] for name in self.augment.inputs), views["spectrum"])
