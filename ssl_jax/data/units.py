"""What a batch of records holds in the unit that people count it in: tokens, seconds of audio.

An augment may have a method `units(batch) -> {"tokens": 8192}` of its own; it is given numpy arrays on the host. Counts are
of records, as `examples/s` is: the views that are made of a record do not make it longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Records = Mapping[str, np.ndarray]
Units = dict[str, float]


def units(augment: Any, batch: Records) -> Units:
    """`augment.units(batch)`, or else what its `inputs` are known to hold; {} where examples are unit enough."""
    own = getattr(augment, "units", None)
    if own is not None:
        return own(batch)
    inputs = getattr(augment, "inputs", ())
    seen = {name: batch[name] for name in (*inputs, "valid") if name in batch}
    return tokens(seen) | seconds_of_audio(seen, getattr(augment, "rate", None))


def tokens(batch: Records) -> Units:
    """Of `tokens` [B, T]: those that are `valid` [B, T], or all without it; {} without tokens."""
    return {"tokens": _real(batch, "tokens")} if "tokens" in batch else {}


def seconds_of_audio(batch: Records, rate: float | None) -> Units:
    """Of `wave` [B, T, ...], sampled `rate` times a second: as `tokens`; {} without a wave or a rate."""
    return {"seconds of audio": _real(batch, "wave") / rate} if "wave" in batch and rate else {}


def _real(batch: Records, name: str) -> float:
    places = batch[name].shape[:2]
    valid = batch.get("valid")
    return float(np.prod(places) if valid is None or valid.shape != places else np.sum(valid))


def per_second(unit: str) -> str:
    """The name of its column in metrics.jsonl: `tokens_per_s`, `seconds_of_audio_per_s`."""
    return f"{unit.replace(' ', '_')}_per_s"
