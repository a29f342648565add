"""`ssl-jax export`: a folder with the encoder of a run, its config.json or program, its tokenizer, and its card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from safetensors.numpy import save

from ssl_jax.data.text.vocabulary import located
from ssl_jax.errors import UserError
from ssl_jax.evaluate.online import encoder_named, names_of
from ssl_jax.export import program
from ssl_jax.export.card import About, card
from ssl_jax.export.configs import FORMATS, Inputs, preprocessor_config
from ssl_jax.export.weights import converted_to
from ssl_jax.objectives.base import Encoder
from ssl_jax.recipe.values import to_json
from ssl_jax.report.record import read
from ssl_jax.rundir.writing import own_folder, replace_file, replacing
from ssl_jax.training.reopen import Opened, open_run

NAMES = (*FORMATS, "stablehlo")
WEIGHTS = "model.safetensors"
LABELS = ("label", "labels")
LOADING = {
    "timm": 'import timm\nmodel = timm.create_model("local-dir:.", pretrained=True, num_classes=0).eval()',
    "hf": 'from transformers import AutoModel\nmodel = AutoModel.from_pretrained(".").eval()',
    "safetensors": (
        "from ssl_jax.interop.importing import imported\nfrom ssl_jax.interop.shapes import built\n"
        'found = imported(".")\nfeatures = built(found.model).apply(found.variables, inputs, method="features")'
    ),
}


def export(
    workdir: Path,
    out: Path,
    format: str,
    encoder: str | None = None,
    step: int | None = None,
    allow: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """Write the encoder of a run into the folder `out`; returns what its user has to know, in sentences.

    Raises UserError for a format or encoder that is not there, what the format cannot say, and a folder that has a run in it.
    """
    if format not in NAMES:
        raise UserError(f"--format {format}: known are {', '.join(NAMES)}")
    if (out / "config.json").exists() and (out / "checkpoints").exists():
        raise UserError(f"--out {out} is a run directory; name another folder")
    opened = open_run(workdir, step, allow)
    name = encoder or names_of(opened.recipe.evaluate.encoder)[0]
    chosen = encoder_named(opened.objective, name)
    variables = jax.tree.map(np.asarray, jax.device_get(chosen.variables(opened.state)))
    write = _program if format == "stablehlo" else _weights
    files, loading, told = write(format, opened, chosen, variables)
    about = About(read(workdir), name, opened.step, format, loading, told)
    _write(own_folder(out), files | {"README.md": card(about), "recipe.json": to_json(about.record.config)})
    return told


Files = dict[str, Any]


def _weights(
    format: str, opened: Opened, chosen: Encoder, variables: dict[str, Any]
) -> tuple[Files, str, tuple[str, ...]]:
    module, kept = without_local_norm(chosen.module, variables)
    inputs = inputs_of(opened, chosen)
    made = converted_to(format, module, kept, inputs)
    files: Files = {
        "config.json": json.dumps(made.config, indent=1) + "\n",
        WEIGHTS: save(made.tensors, {"format": "pt"}),
    }
    if format == "hf" and inputs.mean:
        files["preprocessor_config.json"] = json.dumps(preprocessor_config(inputs), indent=1) + "\n"
    if (tokenizer := getattr(opened.objective.augment, "tokenizer", "")) and located(tokenizer).is_file():
        files["tokenizer.json"] = located(tokenizer)
    return files, LOADING[format], made.told


def _program(
    format: str, opened: Opened, chosen: Encoder, variables: dict[str, Any]
) -> tuple[Files, str, tuple[str, ...]]:
    records = {k: x for k, x in opened.records.fields.items() if k not in _labels(opened)}
    return {program.FILE: program.program(chosen, variables, records)}, program.loader(records), ()


def _labels(opened: Opened) -> set[str]:
    section = opened.recipe.evaluate
    return {*LABELS, section.label, section.target or ""}


def without_local_norm(module: nn.Module, variables: Mapping[str, Any]) -> tuple[nn.Module, Mapping[str, Any]]:
    """An encoder without the norm that only small crops of training went through."""
    if not getattr(module, "local_norm", False):
        return module, variables
    stack = {key: x for key, x in variables["params"]["transformer"].items() if key != "norm_local"}
    return module.clone(local_norm=False), {**variables, "params": {**variables["params"], "transformer": stack}}


def inputs_of(opened: Opened, chosen: Encoder) -> Inputs:
    """What an encoder of images sees; of one that sees none, nothing."""
    records = {k: x for k, x in opened.records.batch(1).items() if k not in _labels(opened) and not k.startswith("_")}
    seen = jax.eval_shape(chosen.preprocess, records)
    first = seen[chosen.inputs[0]]
    if len(first.shape) != 4:
        return Inputs()
    height, width, channels = first.shape[1:]
    said = {key: getattr(opened.objective.augment, key, ()) for key in ("mean", "std")}
    each = {key: tuple(np.broadcast_to(x, channels).tolist()) for key, x in said.items() if x}
    return Inputs((height, width), channels, **each)


def _write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        if isinstance(content, Path):
            with replacing(folder / name) as file, content.open("rb") as source:
                shutil.copyfileobj(source, file)
        else:
            replace_file(folder / name, content)
