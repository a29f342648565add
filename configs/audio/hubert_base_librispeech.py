"""HuBERT's base model, first iteration, with the paper's hyper-parameters on the 960 hours of LibriSpeech.

    ssl-jax plan --config hubert_base_librispeech --topology v5e:4x4
    ssl-jax train --config hubert_base_librispeech --workdir runs/hubert

Hsu et al. 2021, arXiv 2106.07447, section 4: 100 clusters of 39-dimensional MFCCs, crops of 250,000 samples, 47 minutes of them
in a batch, 250,000 steps, Adam at 5e-4 after 8 % of them, linearly to zero; spans of 10 frames that begin at 8 % of them, and
nothing but hidden frames is told. Put the utterances at data/LibriSpeech/train-960/<speaker>.

Fidelity: waves are as they are, as the authors' base model has them; the front learns at a tenth of the rate, as in their code.
No layer is dropped as a whole. Clusters are of the frames of 2,048 utterances.
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
    few = dict(codes=8, width=16, span=5, fit_records=64) if tiny else {}
    return ConfigDict(
        librispeech_run(tiny, "train-960", 250_000 / 16_000, 250_000, batch_size=176)
        | dict(
            objective=dict(target="ssl_jax.objectives.hubert:HuBERT", **few),
            model=sequence_encoder(front, context),
            optimizer=dict(
                name="adamw",
                lr=5e-4,
                b2=0.98,
                eps=1e-6,
                weight_decay=0.01,
                groups=(("^encoder/front/", dict(lr_scale=0.1)),),
            ),
            schedule=dict(name="optax:linear_schedule", warmup_percent=8),
        )
    )
