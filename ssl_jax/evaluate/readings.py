"""What of an encoder a probe reads: which layer, and how its tokens become the features of a record."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ssl_jax.errors import UserError

POOLS = ("own", "class", "mean", "tokens")
_WRITTEN = re.compile(r"([a-z]+)(?:@(-?\d+))?")


@dataclass(frozen=True, order=True)
class Reading:
    """Features of one layer, pooled one way; written "class", "mean@-4".

    `pool`: "own" is what the encoder itself gives (`Encoder.method`; of its last layer only), "class" the class token [N, D],
    "mean" the mean of the patch tokens [N, D], "tokens" the patch tokens [N, T, D] in the order of their grid, rows first,
    without class token and registers. `layer` counts from the last, -1, backwards; where an encoder normalises its last
    layer, the others are normalised alike (DINOv2's `get_intermediate_layers(norm=True)`). Side by side in one row, as DINOv2
    has the class tokens of the last four layers, is the probe's to make: `np.concatenate` of four readings.
    """

    pool: str = "own"
    layer: int = -1

    def __post_init__(self) -> None:
        if self.pool not in POOLS:
            raise UserError(
                f"reading {self.pool!r} is unknown; use one of {', '.join(POOLS)}, or e.g. mean@-2 of a layer"
            )
        if self.layer >= 0 or (self.pool == "own" and self.layer != -1):
            raise UserError(f"reading {self}: layers count from the last, -1, and 'own' has no other")

    def __str__(self) -> str:
        return self.pool if self.layer == -1 else f"{self.pool}@{self.layer}"


OWN = Reading()


def reading_named(text: str) -> Reading:
    """The reading that is written so; UserError for what is none."""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise UserError(f"reading {text!r} is unknown; use one of {', '.join(POOLS)}, or e.g. mean@-2 of a layer")
    return Reading(found[1], int(found[2] or -1))
