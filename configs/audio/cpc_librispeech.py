"""CPC with the paper's hyper-parameters on the 100 hours of LibriSpeech, for a slice or a cluster.

    ssl-jax plan --config cpc_librispeech --topology v5e:2x4
    ssl-jax train --config cpc_librispeech --workdir runs/cpc

van den Oord et al. 2018, arXiv 1807.03748, section 3.1: windows of 20,480 samples, 8 on each of 8 GPUs, 12 steps ahead, a GRU of
256, Adam at 2e-4, about 300,000 updates. Put the utterances at data/LibriSpeech/train-clean-100/<speaker>; probes tell speakers.

Fidelity: the paper names no norm and no number of negatives; here frames are normed over channels, and the other sequences of the
batch are the negatives.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.speech import CPC_FRONT, gru, librispeech_run, sequence_encoder, tiny_wave_encoder

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    run = librispeech_run(
        tiny, "train-clean-100", 20_480 / 16_000, 300_000, batch_size=64, schedule=dict(name="constant")
    )
    return ConfigDict(
        dict(
            objective=dict(target="ssl_jax.objectives.cpc:CPC"),
            model=tiny_wave_encoder() if tiny else sequence_encoder(dict(**CPC_FRONT, widths=(512,) * 5), gru(256)),
            optimizer=dict(name="adamw", lr=2e-4, b2=0.999, weight_decay=0.0),
            **run,
        )
    )
