"""What is shown of methods that hide frames of a sequence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from ssl_jax.data.panels import Panel, Signals


def shaded(panels: Mapping[str, Panel], hidden: ArrayLike, front: Any, samples: int) -> dict[str, Panel]:
    """The panels, in those of signals [R, 1, samples] the samples where frames that are `hidden` [R, N] begin shaded."""
    frames = np.asarray(hidden)
    places = np.arange(samples) // math.prod(front.strides)
    marks = (frames[:, np.minimum(places, frames.shape[1] - 1)] & (places < frames.shape[1]))[:, None]
    return {
        name: replace(panel, hidden=marks) if isinstance(panel, Signals) else panel for name, panel in panels.items()
    }
