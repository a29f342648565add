"""Pieces that recipes on waves share. Each returns plain values for a section of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssl_jax.recipe.fragments.audio import DRUMS, RATE, Recordings, audio_run, energy_views, wave_views
from ssl_jax.recipe.fragments.common import evaluation

WAVE = "ssl_jax.models.wave"
# Kernels and strides of the published front ends on 16 kHz: a frame each 10 ms, and each 20 ms.
CPC_FRONT: dict[str, Any] = {"kernels": (10, 8, 4, 4, 4), "strides": (5, 4, 2, 2, 2)}
WAV2VEC2_FRONT: dict[str, Any] = {"kernels": (10, 3, 3, 3, 3, 2, 2), "strides": (5, 2, 2, 2, 2, 2, 2)}
TINY_WIDTHS = (8, 8, 16, 16, 16)
# On log energies each 16 ms: a frame each 32 ms, of 96 ms.
ENERGY_FRONT: dict[str, Any] = {"kernels": (3, 3), "strides": (1, 2)}
LIBRISPEECH = {"train-clean-100": 28_539, "train-960": 281_241}  # utterances


def sequence_encoder(front: dict[str, Any], context: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The `model` section of convolutions that make frames, and of what tells them by their neighbours."""
    convolutions = {"target": f"{WAVE}:WaveConv", **front}
    return {"target": f"{WAVE}:SequenceEncoder", "front": convolutions, "context": context, **options}


def base_frame_encoder(tiny: bool) -> dict[str, Any]:
    """The `model` section of wav2vec 2.0's base model, which is HuBERT's."""
    shape = {**CPC_FRONT, "widths": TINY_WIDTHS} if tiny else {**WAV2VEC2_FRONT, "widths": (512,) * 7}
    options: dict[str, Any] = {"dtype": "float32" if tiny else "bfloat16"}
    front = {**shape, "norm": "time", "bias": False, "activation": "gelu", **options}
    options |= {"dropout": 0.1, "attention_dropout": 0.1, "groups": 4 if tiny else 16}
    width, depth, heads = (16, 1, 2) if tiny else (768, 12, 12)
    return sequence_encoder(front, frame_transformer(width, depth, heads, **options))


def base_frame_optimizer() -> dict[str, Any]:
    """The `optimizer` section of both: Adam, and the front learns at a tenth of the rate."""
    slower = (("^encoder/front/", {"lr_scale": 0.1}),)
    return {"name": "adamw", "lr": 5e-4, "b2": 0.98, "eps": 1e-6, "weight_decay": 0.01, "groups": slower}


def gru(width: int, **options: Any) -> dict[str, Any]:
    """A context that sees no later frame."""
    return {"target": "ssl_jax.models.recurrent:GRU", "width": width, **options}


def frame_transformer(width: int, depth: int, heads: int, **options: Any) -> dict[str, Any]:
    """A context that frames can be hidden from."""
    sizes = {"width": width, "depth": depth, "heads": heads, "mlp_dim": 4 * width}
    return {"target": f"{WAVE}:FrameTransformer", **sizes, **options}


def tiny_wave_encoder() -> dict[str, Any]:
    """CPC's encoder on waves, very small."""
    return sequence_encoder({**CPC_FRONT, "widths": TINY_WIDTHS}, gru(16), pool="moments")


def energy_front(tiny: bool, **options: Any) -> dict[str, Any]:
    """The `front` of an encoder of log energies."""
    return {**ENERGY_FRONT, "widths": (16,) * 2 if tiny else (128,) * 2, **options}


def energy_gru_encoder(tiny: bool) -> dict[str, Any]:
    """Convolutions over log energies and a GRU, for recipes that run on a CPU."""
    return sequence_encoder(energy_front(tiny), gru(16 if tiny else 128), pool="moments")


def small_frame_encoder(tiny: bool) -> dict[str, Any]:
    """Convolutions over log energies and a transformer whose frames can be hidden, for recipes that run on a CPU.

    Its features are means of eighths of a record, one after the other, for words that stand at a place.
    """
    sizes = (16, 1, 2) if tiny else (128, 2, 4)
    context = frame_transformer(*sizes, order="pre", kernel=16, groups=4, dropout=0.1, remat="none", unroll=sizes[1])
    return sequence_encoder(energy_front(tiny, activation="gelu"), context, pool="stretches")


def energy_run(arg: str, recordings: Recordings, examples: int, batch: int = 64, **views: Any) -> dict[str, Any]:
    """Every section of a run on log energies of recordings but objective, model and optimiser."""
    tiny = arg == "tiny"
    few = {"batch_size": 16} if tiny else {}
    return audio_run(arg, recordings, examples, batch) | few | {"augment": energy_views(recordings, **views)}


def transcribed(data: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The section `data` of labelled records, with the texts of the column `text` as symbols beside every one."""
    parts = {"pretrain": data["probe"], "probe": data["probe"], "test": data["test"]}
    return {**data, **{name: _with_text(part, text) for name, part in parts.items()}}


def _with_text(part: Mapping[str, Any], text: str) -> dict[str, Any]:
    source = part.get("source")
    told = {**part, "source": {**source, "columns": (text,)}} if source else part
    return {"target": "ssl_jax.data.sources:Transcripts", "source": told, "text": text}


def librispeech_run(tiny: bool, part: str, seconds: float, steps: int, **sections: Any) -> dict[str, Any]:
    """Every section of a run on LibriSpeech at data/LibriSpeech/<part>/<speaker> but objective, model and optimiser.

    Classes are speakers; of each utterance there is a stretch of so many seconds, and one in 20 utterances is held out.
    """
    if tiny:
        return audio_run("tiny", DRUMS, 0) | {
            "batch_size": 16,
            "augment": wave_views(seconds=0.3),
        }
    folder = {"target": "ssl_jax.data.sources:AudioFolder", "root": f"data/LibriSpeech/{part}", "rate": RATE}
    source = {"target": "ssl_jax.data.sources:NamedPart", "source": folder | {"seconds": seconds}}
    learnt, held = source | {"start": 0.0, "stop": 0.95}, source | {"start": 0.95, "stop": 1.0}
    data = {"pretrain": learnt, "probe": learnt, "test": held, "examples": round(0.95 * LIBRISPEECH[part])}
    usual = {
        "seed": 0,
        "total_steps": steps,
        "augment": wave_views(),
        "data": data | {"threads": 16, "prefetch": 32},
        "mesh": {"data": -1},
        "checkpoint": {"every_percent": 5},
        "evaluate": evaluation("student", False) | {"baselines": ("random", "raw")},
        "log": {"every_steps": 50},
    }
    return usual | sections
