"""What stands beside the towers in files of two: heads into the shared space, and what was learned of the loss.

Ours are named for towers `image`, `text` and `sound`.
"""

from __future__ import annotations

import numpy as np

from ssl_jax.interop.blocks import linear
from ssl_jax.interop.files import Weights
from ssl_jax.interop.rules import Rule, read, rule
from ssl_jax.interop.transforms import each

SCALAR = each(lambda x: x.reshape(()), lambda x: x)
RULES: tuple[Rule, ...] = (
    *linear("visual_projection", "image_head/dense_out"),  # CLIP
    *linear("text_projection", "text_head/dense_out"),
    *linear("text_model.head", "text_head/dense_out"),  # SigLIP
    rule("visual.proj", "image_head/dense_out/kernel"),  # open_clip
    rule("text_projection", "text_head/dense_out/kernel"),
    *linear("text.text_projection", "text_head/dense_out"),
    *linear("audio_projection.linear1", "sound_head/dense0"),  # CLAP
    *linear("audio_projection.linear2", "sound_head/dense_out"),
    *linear("text_projection.linear1", "text_head/dense0"),
    *linear("text_projection.linear2", "text_head/dense_out"),
    rule("logit_scale", "logit/image_text/scale", SCALAR),
    rule("logit_bias", "logit/image_text/bias", SCALAR),
    rule("logit_scale_a", "logit/sound_text/scale", SCALAR),
)


def heads(weights: Weights) -> dict[str, np.ndarray]:
    """Arrays of heads by path in an objective's parameters."""
    return {path: np.asarray(x, np.float32) for path, x in read(RULES, weights.tensors).arrays.items()}
