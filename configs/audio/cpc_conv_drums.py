"""CPC with small convolutions and a GRU on the strokes of drum kits that `tools/fetch_audio_data` writes.

    tools/fetch_audio_data --root packages --out data
    ssl-jax train --config cpc_conv_drums --workdir runs/cpc
    ssl-jax eval --workdir runs/cpc

van den Oord et al. 2018, arXiv 1807.03748, on log energies: a frame each 32 ms, and the 6 after it, of some 20, are told from the
others of the same stroke. Those of other strokes are told apart by the colour of a recording, which is not what tells instruments
of other kits. Frames are normed over channels, each by itself: a norm over time would let a context see what it predicts.
Features are of the frames, not of the contexts.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.audio import DRUMS
from ssl_jax.recipe.fragments.speech import energy_gru_encoder, energy_run

RESULT = "instrument, other kits, linear 61.0 % (random init 57.0, log-mel 65.7)"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.cpc:CPC", steps=6, negatives="sequence"),
            model=energy_gru_encoder(tiny) | dict(layer=-2),
            optimizer=dict(name="adamw", lr=1e-3, weight_decay=0.01, clip=1.0),
            **energy_run(arg, DRUMS, 16_000, batch=32, changes=dict(gain=(-6.0, 6.0))),
        )
    )
