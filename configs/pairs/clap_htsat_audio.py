"""CLAP with HTS-AT and a RoBERTa-base on recordings and what is heard in them, with the paper's numbers.

    ssl-jax plan --config clap_htsat_audio --devices 8 --chip h100
    ssl-jax train --config clap_htsat_audio --workdir runs/clap --config.init_from.towers=text=roberta-base

Wu et al. 2022, arXiv 2211.06687, section 4.1: 48 kHz, 64 mel bands from 50 to 14,000 Hz under windows of 1,024 samples, 480
apart; heads with a hidden layer of 512; Adam with 1e-4, b1 0.99 and b2 0.9, cosine, 768 pairs a batch and 45 epochs of AudioCaps
and Clotho. Put WebDataset archives at data/audiocaps/*.tar (`flac` and `txt`), and RoBERTa's tokenizer at
data/audiocaps/tokenizer.json.

Fidelity: 1,024 frames of each recording (10.24 s), which fill the square; the original stretches 1,001 to as many. Logarithms are
natural instead of decibels, which the norm of each band takes out. The text is read at its first token without RoBERTa's pooler.
The length of the warm-up is ours, and so is the number of captions (about 50,000 of AudioCaps and 3,839 x 5 of Clotho).
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.pairs import evaluated, found, known_argument, speech_run, together, towers
from ssl_jax.recipe.fragments.text import BERT, text_model

RESULT = "not run here"
HTSAT = "ssl_jax.models.htsat:HTSAT"
MEL = dict(bands=64, bank="slaney", low=50.0, high=14_000.0, window=1024 / 48, hop=10.0, centred=True, floor=1e-10)
TOKENS = dict(tokenizer="data/audiocaps/tokenizer.json")
WORDS = dict(size=50_265, start=0, pad=1, end=2, unknown=3)
PAIR = ("sound", "text")


def get_config(arg: str = "") -> ConfigDict:
    learned = towers("clip:CLIP", 64 if arg == "tiny" else 512, hidden=(64 if arg == "tiny" else 512,))
    return ConfigDict(dict(objective=learned, **(tiny() if known_argument(arg) else corpus())))


def corpus() -> dict:
    """The run of the paper."""
    views = dict(target="ssl_jax.data.audio.spectrograms:SpectrogramViews", rate=48_000, frames=1024, mel=MEL)
    source = dict(
        target="ssl_jax.data.sources:Pairs", path="data/audiocaps/*.tar", parts="sound,text", rate=48_000, seconds=10.26
    )
    roberta = BERT | dict(types=1, norm_epsilon=1e-5)
    return dict(
        seed=0,
        batch_size=768,
        total_epochs=45,
        model=dict(
            sound=dict(target=HTSAT, dtype="bfloat16"),
            text=text_model(50_265, 768, 12, 12, 512, **roberta, dropout=0.1, attention_dropout=0.1, dtype="bfloat16"),
        ),
        augment=together(sound=views, text=dict(target="ssl_jax.data.text.views:TextViews", assumed=WORDS, **TOKENS)),
        data=dict(pretrain=source | TOKENS | dict(length=77, each=True), examples=69_195, threads=16, prefetch=16),
        optimizer=dict(name="adamw", lr=1e-4, b1=0.99, b2=0.9, weight_decay=0.0),
        schedule=dict(name="cosine", warmup_percent=5),
        evaluate=dict(encoder=PAIR, probes=("linear", "knn", found(*PAIR)), baselines=("random",)),
        mesh=dict(data=-1),
        checkpoint=dict(every_percent=5),
        log=dict(every_steps=50),
    )


def tiny() -> dict:
    """The same on generated sounds, of 64 frames and 16 bands."""
    run = speech_run("tiny", PAIR, PAIR)
    views = run["augment"]["parts"]["sound"] | dict(mel=dict(bands=16), frames=64)
    sound = dict(target=HTSAT, width=16, depths=(1, 2), heads=(2, 2), window=4, size=32, bands=16, mlp_ratio=2.0)
    return run | dict(
        model=run["model"] | dict(sound=sound),
        augment=together(sound=views, text=run["augment"]["parts"]["text"]),
        evaluate=evaluated(True, PAIR, same="text_id") | dict(baselines=("random",)),
    )
