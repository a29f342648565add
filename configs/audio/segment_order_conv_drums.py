"""The order of four segments of a recording, with small convolutions and a GRU, on the strokes of drum kits that
`tools/fetch_audio_data` writes.

    ssl-jax train --config segment_order_conv_drums --workdir runs/order
    ssl-jax eval --workdir runs/order

The jigsaw of Noroozi, Favaro 2016, arXiv 1603.09246, in time: 24 orders, gaps between the segments.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.audio import DRUMS
from ssl_jax.recipe.fragments.speech import energy_gru_encoder, energy_run

RESULT = (
    "instrument, folds of the training kits: 56.2 % after 9,600 records (random init 50.6), below log-mel means (59.9)"
)
FRAMES = 8  # of a segment, 16 ms apart


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    return ConfigDict(
        dict(
            objective=dict(
                target="ssl_jax.objectives.segment_order:SegmentOrder",
                samples=FRAMES,
                hidden=(32 if tiny else 256,),
                out=16 if tiny else 128,
            ),
            model=energy_gru_encoder(tiny),
            optimizer=dict(name="adamw", lr=2e-3, weight_decay=0.01, clip=1.0),
            **energy_run(arg, DRUMS, 16_000, changes=dict(gain=(-6.0, 6.0))),
        )
    )
