"""wav2vec 2.0's base model with the paper's hyper-parameters on the 960 hours of LibriSpeech, for a slice or a cluster.

    ssl-jax plan --config wav2vec2_base_librispeech --topology v5e:4x4
    ssl-jax train --config wav2vec2_base_librispeech --workdir runs/wav2vec2

Baevski et al. 2020, arXiv 2006.11477, section 4.2: crops of 250,000 samples, 1.6 hours of them in a batch, 400,000 steps, Adam at
5e-4 after 32,000 of them, linearly to zero; the front learns at a tenth of the rate. Put the utterances at
data/LibriSpeech/train-960/<speaker>.

Fidelity: waves are as they are, where the authors' code takes them to deviation 1 (the norm after the first convolution does). No
layer is dropped as a whole; `dropout` is the paper's. Utterances shorter than a crop are padded, others cut at a drawn place.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.speech import base_frame_encoder, base_frame_optimizer, librispeech_run

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    warmup = dict(warmup_percent=10) if tiny else dict(warmup_steps=32_000)
    run = librispeech_run(tiny, "train-960", 250_000 / 16_000, 400_000, batch_size=352)
    return ConfigDict(
        run
        | dict(
            objective=dict(target="ssl_jax.objectives.wav2vec2:Wav2Vec2")
            | (dict(size=8, code_width=16, width=16, negatives=10) if tiny else {}),
            model=base_frame_encoder(tiny),
            optimizer=base_frame_optimizer(),
            schedule=dict(name="optax:linear_schedule", **warmup),
        )
    )
