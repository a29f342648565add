"""Linear depth: can the distance of every pixel be read off the patch tokens?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.errors import UserError
from ssl_jax.evaluate.dense import RATES, halves, maps_of, predicted, standardised, trained
from ssl_jax.evaluate.depth import depth_measures
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.intervals import interval_of_mean
from ssl_jax.evaluate.readings import Reading

TOKENS = Reading("tokens")


@dataclass(frozen=True)
class Probe:
    """A linear head on standardised patch tokens, resized to the depth map, trained by the scale-invariant log loss.

    Maps are the field `maps`, [H, W] numbers above 0; 0 counts nowhere. `head`: "bins" gives the mean of `bins` evenly spaced
    depths between the least and largest of train, weighted by a softmax (DINOv2 and v3 have 256); "linear" a number of its own.
    The learning rate is chosen by loss on `held_out` of the train records.

    Fidelity: weights by softmax, where DINOv3's are `relu + 0.1` over their sum; no crops or flips.
    """

    maps: str = "depth"
    head: str = "bins"
    bins: int = 64
    rates: Sequence[float] = RATES
    steps: int = 400
    batch: int = 16
    held_out: float = 0.2
    seed: int = 0

    labelled: ClassVar = False
    needs: ClassVar = (TOKENS,)
    columns: ClassVar = (
        {"title": "abs rel", "value": "abs_rel", "unit": "number"},
        {"title": "delta1", "value": "delta1", "unit": "percent"},
    )

    def __post_init__(self) -> None:
        if self.head not in ("bins", "linear"):
            raise UserError(f"depth: head={self.head!r}; use 'bins' or 'linear'")

    @property
    def fields(self) -> tuple[str, ...]:
        """The field with the depth maps."""
        return (self.maps,)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        kind = f"{self.bins} bins" if self.head == "bins" else "linear"
        return (
            f"depth: linear head ({kind}) on patch tokens, resized to the map, {self.steps} steps of {self.batch} records, "
            f"learning rate of {len(self.rates)} by loss on {100 * self.held_out:g} % of train held out"
        )

    def run(self, split: Split) -> dict[str, Any]:
        """`abs_rel`, `rmse`, `delta1` over all test pixels with a depth, `interval` of the first over records;
        `constant_abs_rel`, that of the median depth of train; the chosen `rate` and the held-out curve."""
        seen = split.readings[TOKENS]
        x, test = standardised(np.asarray(seen.train.x), np.asarray(seen.test.x))
        given, asked = (part.fields[self.maps].astype(np.float32) for part in (seen.train, seen.test))
        depth, width = self.reading(given[given > 0])
        fit, choose = halves(len(x), self.held_out, self.seed)
        data = maps_of(x, given, seen.train.grid, self.maps)
        loss = lambda out, maps: silog(depth(out), maps)  # noqa: E731
        found = trained(
            data.take(fit), data.take(choose), loss, width, self.rates, self.steps, self.batch, seed=self.seed
        )
        held = data._replace(tokens=test, maps=asked)
        p = np.concatenate([np.asarray(depth(out)) for out, _ in predicted(found.head, held, self.batch)])
        constant = np.full_like(asked, np.median(given[given > 0]))
        off = np.abs(p - asked) / np.where(asked > 0, asked, np.nan)
        return depth_measures(p, asked) | {
            "interval": interval_of_mean(np.nan_to_num(np.nanmean(off, axis=(1, 2))), self.seed),
            "constant_abs_rel": depth_measures(constant, asked)["abs_rel"],
            "rate": found.rate,
            "held_out": found.curve,
            "n_train": len(x),
            "n_test": len(test),
        }

    def reading(self, known: np.ndarray) -> tuple[Callable[[Array], Array], int]:
        """What makes depths [..., ] of outputs [..., K], and K, for the known depths of train."""
        if self.head == "linear":
            return (lambda out: jax.nn.softplus(out[..., 0]) * known.mean() + 1e-3 * known.min()), 1
        centres = jnp.linspace(known.min(), known.max(), self.bins)
        return (lambda out: jax.nn.softmax(out, axis=-1) @ centres), self.bins


def silog(depth: Array, true: Array, share: float = 0.15) -> Array:
    """`sqrt(var(g) + share * mean(g)^2)` with g = log depth - log true, over places with a depth (Eigen et al. 2014, eq. 4, as
    DINOv2 has it)."""
    known = true > 0
    count = jnp.maximum(known.sum(), 1)
    g = jnp.where(known, jnp.log(depth) - jnp.log(jnp.where(known, true, 1)), 0)
    mean = g.sum() / count
    spread = jnp.sum(jnp.where(known, jnp.square(g - mean), 0)) / count
    return jnp.sqrt(spread + share * jnp.square(mean) + 1e-12)
