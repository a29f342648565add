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

from ssl_jax.recipe.fragments.speech import base_frame_encoder, base_frame_optimizer, librispeech_run

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    few = dict(codes=8, width=16, span=5, fit_records=64) if tiny else {}
    return ConfigDict(
        librispeech_run(tiny, "train-960", 250_000 / 16_000, 250_000, batch_size=176)
        | dict(
            objective=dict(target="ssl_jax.objectives.hubert:HuBERT", **few),
            model=base_frame_encoder(tiny),
            optimizer=base_frame_optimizer(),
            schedule=dict(name="optax:linear_schedule", warmup_percent=8),
        )
    )
