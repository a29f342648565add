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

from ssl_jax.recipe.fragments.speech import (
    CPC_FRONT,
    TINY_WIDTHS,
    WAV2VEC2_FRONT,
    frame_transformer,
    librispeech_run,
    sequence_encoder,
)

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    shape = dict(**CPC_FRONT, widths=TINY_WIDTHS) if tiny else dict(**WAV2VEC2_FRONT, widths=(512,) * 7)
    dtype = dict(dtype="float32" if tiny else "bfloat16")
    front = dict(**shape, norm="time", bias=False, activation="gelu", **dtype)
    sizes = (16, 1, 2) if tiny else (768, 12, 12)
    context = frame_transformer(*sizes, dropout=0.1, attention_dropout=0.1, groups=4 if tiny else 16, **dtype)
    warmup = dict(warmup_percent=10) if tiny else dict(warmup_steps=32_000)
    run = librispeech_run(tiny, "train-960", 250_000 / 16_000, 400_000, batch_size=352)
    return ConfigDict(
        run
        | dict(
            objective=dict(target="ssl_jax.objectives.wav2vec2:Wav2Vec2")
            | (dict(size=8, code_width=16, width=16, negatives=10) if tiny else {}),
            model=sequence_encoder(front, context),
            optimizer=dict(
                name="adamw",
                lr=5e-4,
                b2=0.98,
                eps=1e-6,
                weight_decay=0.01,
                groups=(("^encoder/front/", dict(lr_scale=0.1)),),
            ),
            schedule=dict(name="optax:linear_schedule", **warmup),
        )
    )
