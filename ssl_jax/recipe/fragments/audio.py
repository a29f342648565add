"""Pieces that recipes of audio share. Each returns plain values for a section of a recipe."""

from __future__ import annotations

from typing import Any, NamedTuple

from ssl_jax.errors import UserError
from ssl_jax.recipe.fragments.common import evaluation

RATE = 16_000
# Frames of 32 ms, one each 16 ms: 64 of them, a second, are as many as there are bands.
MEL: dict[str, Any] = {"name": "htk", "bands": 64, "window": 32.0, "hop": 16.0, "floor": 1e-5}
# AudioSet as AST and AudioMAE have it: twice its standard deviation, and 0 for frames beyond a clip's end.
AUDIOSET: dict[str, Any] = {
    "mel": {"name": "kaldi", "bands": 128},
    "mean": (-4.2677393,),
    "std": (2 * 4.5689974,),
    "fill": 0.0,
    "centred": True,
}


class Recordings(NamedTuple):
    """What `tools/fetch_audio_data` wrote: a table, its label, what a split keeps together, and how much of it is learnt from.

    all: the table that is learnt from, without labels. columns: further labels.
    seconds: of a record. frames: of a view. seen: frames of evaluation. mean, std: of the log energies (`ssl-jax data stats`).
    examples: records learnt from.
    """

    table: str
    all: str
    label: str
    group: str
    learnt: float
    seconds: float
    frames: int
    seen: int
    mean: float
    std: float
    examples: int
    columns: tuple[str, ...]


CONCEPT = "^[^/]+/[^/]+/([^/]+)/"
SPEECH = Recordings(
    table="data/speech/articles.csv",
    all="data/speech/list.csv",
    label="article",
    columns=("category", "language", "concept"),
    group=CONCEPT,
    learnt=0.8,
    seconds=1.6,
    frames=64,
    seen=96,
    mean=-4.35,
    std=4.65,
    examples=7710,
)
DRUMS = Recordings(
    table="data/drums/named.csv",
    all="data/drums/list.csv",
    label="instrument",
    columns=("kit",),
    group="^([^/]+)/",
    learnt=0.85,
    seconds=0.7,
    frames=32,
    seen=40,
    mean=-7.52,
    std=4.33,
    examples=606,
)


def part(recordings: Recordings, start: float, stop: float, table: str = "", **options: Any) -> dict[str, Any]:
    """A source of some groups of recordings."""
    target, file = "ssl_jax.data.sources:AudioList", table or recordings.table
    source = {"target": target, "file": file, "label": recordings.label, "rate": RATE, "seconds": recordings.seconds}
    source |= {"columns": recordings.columns}
    ends = {"start": start, "stop": stop, "group": recordings.group}
    return {"target": "ssl_jax.data.sources:NamedPart", "source": source | options, **ends}


def recorded(recordings: Recordings) -> dict[str, Any]:
    """The `data` section: learnt from and probed on the first groups, tested on the others."""
    learnt, test = part(recordings, 0.0, recordings.learnt), part(recordings, recordings.learnt, 1.0)
    pretrain = part(recordings, 0.0, recordings.learnt, recordings.all, label="", columns=())
    return {"pretrain": pretrain, "probe": learnt, "test": test, "examples": recordings.examples, "threads": 4}


def generated(seconds: float, count: int | None = None) -> dict[str, Any]:
    """The `data` section of generated sounds."""
    source = {"target": "ssl_jax.data.sources:GeneratedAudio", "rate": RATE, "seconds": seconds, "count": count}
    return {name: {**source, "split": name} for name in ("pretrain", "probe", "test")}


def spectrogram_views(recordings: Recordings, **options: Any) -> dict[str, Any]:
    """The `augment` section for spectrograms of these recordings."""
    pixels = {
        "mean": (recordings.mean,),
        "std": (recordings.std,),
        "frames": recordings.frames,
        "seen": recordings.seen,
    }
    return {"target": "ssl_jax.data.audio.spectrograms:SpectrogramViews", "rate": RATE, "mel": MEL, **pixels, **options}


def wave_views(**options: Any) -> dict[str, Any]:
    """The `augment` section for waves."""
    return {"target": "ssl_jax.data.audio.views:WaveViews", "rate": RATE, "mel": MEL, **options}


def energy_views(recordings: Recordings, **options: Any) -> dict[str, Any]:
    """The `augment` section for series of log energies of whole records."""
    target, pixels = "ssl_jax.data.audio.energies:EnergyViews", {"mean": (recordings.mean,), "std": (recordings.std,)}
    return {"target": target, "rate": RATE, "mel": MEL, **pixels, **options}


def two_views(recordings: Recordings, **options: Any) -> dict[str, Any]:
    """The `augment` section of two stretches of each clip: mixed with another clip, zoomed, with bands and frames left out."""
    changes = {"mix": 0.4, "gain": (-6.0, 6.0)}
    masks = {"masked_bands": (12, 1), "masked_frames": (recordings.frames // 5, 1)}
    return spectrogram_views(recordings, count=2, changes=changes, zoom=(0.6, 1.5), **masks, **options)


def audio_conv(**options: Any) -> dict[str, Any]:
    """The `model` section for a small convolutional encoder of spectrograms, whose features are means over time by band."""
    sizes = {"widths": (32, 64, 128, 128), "strides": (2, 2, 2, 1), "kernels": (3, 3, 3, 1), "norm": "batch"}
    return {"target": "ssl_jax.models.conv:ConvNet", **sizes, "pool": "mean", "cells": (1, 8), **options}


def audio_vit(width: int, depth: int, heads: int, patch: tuple[int, int], **options: Any) -> dict[str, Any]:
    """The `model` section for a ViT whose patches have sides in frames and bands."""
    sizes = {"width": width, "depth": depth, "heads": heads, "mlp_dim": 4 * width, "patch": patch}
    return {"target": "ssl_jax.models.vit:ViT", **sizes, **options}


def audio_run(arg: str, recordings: Recordings, examples: int, batch: int = 64) -> dict[str, Any]:
    """Every section of a run on recordings but objective, model, views and optimiser.

    `arg` is "" or "tiny", which takes generated sounds.
    """
    if arg not in ("", "tiny"):
        raise UserError(f"a recipe of audio has no argument {arg!r}; append :tiny, or nothing")
    tiny = arg == "tiny"
    return {
        "seed": 0,
        "batch_size": 32 if tiny else batch,
        "total_examples": 128 if tiny else examples,
        "data": generated(recordings.seconds, 256) if tiny else recorded(recordings),
        "schedule": {"name": "cosine", "warmup_percent": 10},
        "mesh": {"data": -1},
        "checkpoint": {"every_percent": 25},
        "evaluate": evaluation("student", tiny)
        | ({} if tiny else {"baselines": ("raw", "random"), "every_percent": 50}),
        "log": {"every_steps": 2 if tiny else 20},
    }
