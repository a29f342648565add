"""Pieces that recipes of time series share. Each returns plain values for a section of a recipe."""

from __future__ import annotations

from typing import Any, NamedTuple

from ssl_jax.errors import UserError
from ssl_jax.recipe.fragments.common import evaluation

LENGTH, HORIZON = 128, 32  # steps of a generated window, and those after it
PROBES = "ssl_jax.evaluate.probes."
# Of a few dozen series twenty are no neighbours: how many are is chosen on the training set.
NEIGHBOURS: dict[str, Any] = {"target": f"{PROBES}knn:Probe", "k": (1, 5, 20)}


class Problem(NamedTuple):
    """A problem of the archive that ships with aeon: steps of its longest series, channels, and series of its training set."""

    length: int
    channels: int
    train: int


PROBLEMS = {
    "ArrowHead": Problem(251, 1, 36),
    "BasicMotions": Problem(100, 6, 40),
    "GunPoint": Problem(150, 1, 50),
    "ItalyPowerDemand": Problem(24, 1, 67),
    "JapaneseVowels": Problem(29, 12, 270),
    "OSULeaf": Problem(427, 1, 200),
    "PickupGestureWiimoteZ": Problem(361, 1, 50),
}


def series_views(**options: Any) -> dict[str, Any]:
    """The `augment` section: the windows as they are, or changed by `options`."""
    return {"target": "ssl_jax.data.series.views:SeriesViews", **options}


def two_views() -> dict[str, Any]:
    """The `augment` section of two views that are cut, warped, scaled and noisy."""
    return series_views(count=2, window_slice=(0.6, 1.0), time_warp=0.2, frequency_mask=0.1, scaling=0.2, jitter=0.1)


def dilated(tiny: bool, depth: int = 10) -> dict[str, Any]:
    """The `model` section of TS2Vec's encoder; the paper's but for `depth`: with 2^depth steps a state sees all of a window."""
    sizes = {"width": 8, "depth": 2, "out": 16} if tiny else {"depth": depth}
    return {"target": "ssl_jax.models.series:DilatedEncoder", **sizes}


def small_conv(tiny: bool, **options: Any) -> dict[str, Any]:
    """The `model` section of the small convolutional net; features are the means of four parts."""
    sizes: dict[str, Any] = {"widths": (8, 16, 16)} if tiny else {}
    return {"target": "ssl_jax.models.series:SeriesConv", "cells": 4, **sizes, **options}


def both_domains(tiny: bool) -> dict[str, Any]:
    """The `model` section of a small net on the series beside one on its spectrum."""
    return {"target": "ssl_jax.models.series:TimeFrequency", "time": small_conv(tiny), "frequency": small_conv(tiny)}


def patch_transformer(tiny: bool, length: int, **options: Any) -> dict[str, Any]:
    """The `model` section of PatchTST for windows of `length` steps: patches that do not overlap, about sixteen of them; features
    are the means of four parts."""
    sizes = {"width": 16, "depth": 1, "heads": 2, "mlp_dim": 32} if tiny else {"width": 64, "heads": 4, "mlp_dim": 128}
    patch = max(2, length // 16)
    windows = {"patch": patch, "stride": patch, "length": length, "cells": 4}
    return {"target": "ssl_jax.models.patch_tst:PatchTransformer", **sizes, **windows, **options}


def predictive(tiny: bool) -> dict[str, Any]:
    """The `model` section of CPC on series: frames of ten steps, a context that sees none that is later."""
    width = 16 if tiny else 128
    front = {"widths": (width,) * 2, "kernels": (4, 4), "strides": (2, 1)}
    return {
        "target": "ssl_jax.models.wave:SequenceEncoder",
        "front": {"target": "ssl_jax.models.wave:WaveConv", **front},
        "context": {"target": "ssl_jax.models.recurrent:GRU", "width": width},
        "pool": "moments",
    }


def generated(tiny: bool) -> dict[str, Any]:
    """The `data` section of series that are made up; 300 of each split for `:tiny`."""
    count = {"count": 300} if tiny else {}
    sizes = {"target": "ssl_jax.data.sources:GeneratedSeries", "length": LENGTH, "horizon": HORIZON, **count}
    return {split: sizes | {"split": split} for split in ("pretrain", "probe", "test")}


def generated_probes(read: str, apart: bool) -> tuple[Any, ...]:
    """What is measured on them. `read` is what of an encoder forecasts ("own", "last", "all"); `apart` says that its tokens have
    steps of their own, so that marks of steps are marks of tokens."""
    forecast = {"target": f"{PROBES}forecast:Probe", "horizons": (8, HORIZON), "read": read}
    anomalies = ({"target": f"{PROBES}anomaly:Probe", "read": "tokens"},) if apart else ()
    return ("linear", "knn", forecast, *anomalies, "missing")


def generated_run(
    arg: str, examples: int, batch: int, read: str = "own", apart: bool = True, encoder: str = "student"
) -> dict[str, Any]:
    """Every section of a run on generated series but model, views, objective and optimiser. `arg` is "" or "tiny"."""
    if arg not in ("", "tiny"):
        raise UserError(f"a recipe of generated series has no argument {arg!r}; append :tiny, or nothing")
    tiny = arg == "tiny"
    asked = (
        evaluation(encoder, tiny)
        | {"probes": generated_probes(read, apart)}
        | ({} if tiny else {"supervised_examples": 40_000})
    )
    return _run(tiny, batch) | {
        "total_examples": 64 if tiny else examples,
        "data": generated(tiny),
        "evaluate": asked,
        "log": {"every_steps": 1 if tiny else 50},
    }


def aeon_problem(arg: str) -> str:
    """The problem that an argument of a recipe names: GunPoint for "" and "tiny"."""
    name = "GunPoint" if arg in ("", "tiny") else arg
    if name not in PROBLEMS:
        raise UserError(
            f"a recipe of aeon's problems has no argument {arg!r}; append :tiny, or one of {', '.join(PROBLEMS)}"
        )
    return name


def aeon_length(arg: str) -> int:
    """Steps of a record."""
    return LENGTH if arg == "tiny" else PROBLEMS[aeon_problem(arg)].length


def aeon_run(arg: str, steps: int, batch: int, encoder: str = "student") -> dict[str, Any]:
    """Every section of a run on a problem at data/aeon, where `tools/fetch_series` puts them, but model, views, objective and
    optimiser. Channels are normalised by the training set. `:tiny` is of generated series."""
    name, tiny = aeon_problem(arg), arg == "tiny"
    train, test = (f"data/aeon/{name}_{part}.ts" for part in ("TRAIN", "TEST"))
    common = {"target": "ssl_jax.data.sources:SeriesFiles", "length": PROBLEMS[name].length, "normalise": "channel"}
    learned = common | {"files": train, "statistics": train}
    files = {
        "pretrain": learned,
        "probe": dict(learned),
        "test": learned | {"files": test},
        "examples": PROBLEMS[name].train,
    }
    asked = evaluation(encoder, tiny) | {"probes": ("linear", NEIGHBOURS, "missing")}
    return _run(tiny, batch) | {
        "total_steps": 4 if tiny else steps,
        "data": generated(tiny) if tiny else files,
        "evaluate": asked | {"supervised_examples": 256 if tiny else 4000},
        "log": {"every_steps": 1 if tiny else 50},
    }


def _run(tiny: bool, batch: int) -> dict[str, Any]:
    """What all runs of series have in common."""
    return {
        "seed": 0,
        "batch_size": 16 if tiny else batch,
        "schedule": {"name": "cosine", "warmup_percent": 5},
        "mesh": {"data": -1},
        "checkpoint": {"every_percent": 25},
    }
