"""Writing down spoken names of things: CTC on the encoder of a run that learned from waves.

    ssl-jax finetune --from runs/wav2vec2 --config finetune_ctc_speech --workdir runs/ctc
    ssl-jax eval --workdir runs/ctc

Baevski et al. 2020, arXiv 2006.11477, section 3.3: a linear layer on every frame, and errors in characters (`cer`) and words
(`wer`) of the likeliest path, on words that training does not have. Texts are the column `text` of the table, in Latin letters.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.audio import SPEECH
from ssl_jax.recipe.fragments.finetune import finetuning, own_evaluation
from ssl_jax.recipe.fragments.speech import energy_gru_encoder, energy_run, transcribed

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    run = energy_run(arg, SPEECH._replace(table="data/speech/stamps.csv", label="category"), 60_000, 32)
    tiny = arg == "tiny"
    return ConfigDict(
        run
        | dict(
            batch_size=16 if tiny else 32,
            objective=finetuning("full", classes=29, label="symbols", method="told", task="text"),
            model=energy_gru_encoder(tiny),
            data=transcribed(run["data"], "envelope" if tiny else "text"),
            optimizer=dict(name="adamw", lr=1e-3, b2=0.98, clip=1.0),
            evaluate=own_evaluation(),
        )
    )
