"""The order of four segments of a recording, with small convolutions and a GRU, on the strokes of drum kits that
`tools/fetch_audio_data` writes.

    ssl-jax train --config segment_order_conv_drums --workdir runs/order
    ssl-jax eval --workdir runs/order

The jigsaw of Noroozi, Favaro 2016, arXiv 1603.09246, in time: 24 orders, gaps between the segments.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.audio import DRUMS, RATE
from ssl_jax.recipe.fragments.speech import small_gru_encoder, wave_run

RESULT = ""
SECONDS = 0.1  # of a segment


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    return ConfigDict(
        dict(
            objective=dict(
                target="ssl_jax.objectives.segment_order:SegmentOrder",
                samples=800 if tiny else round(SECONDS * RATE),
                hidden=(32 if tiny else 256,),
                out=16 if tiny else 128,
            ),
            model=small_gru_encoder(tiny),
            optimizer=dict(name="adamw", lr=1e-3, weight_decay=0.01, clip=1.0),
            **wave_run(arg, DRUMS, 120_000, changes=dict(gain=(-6.0, 6.0))),
        )
    )
