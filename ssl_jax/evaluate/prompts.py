"""Classes by their names: sentences that name one, as an encoder of texts reads them, and the vector of a class.

Radford et al. 2021, arXiv 2103.00020, section 3.1.4.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.sources.arrays import Arrays
from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import extract
from ssl_jax.objectives.base import Encoder

Read = Callable[[Sequence[str]], np.ndarray]  # texts -> float32 [M, F]
Prompts = Mapping[str, tuple[str, ...]]  # the sentences of each class, by its name
PLACE = "{}"  # where the name stands in a template


def records_of(encoder: Encoder, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Texts as the records that an encoder of texts is given. UserError for an encoder that reads none."""
    part = getattr(encoder.preprocess, "__self__", None)
    written = getattr(part, "written", None)
    if written is None:
        raise UserError(
            f"prompts are read by an encoder of texts, and what this one is given is {', '.join(encoder.inputs)}"
        )
    module = getattr(encoder.module, "encoder", encoder.module)
    return written(texts, getattr(module, "length", None))


def read_by(encoder: Encoder, variables: dict, texts: Sequence[str]) -> np.ndarray:
    """Features float32 [M, F] of texts."""
    return np.asarray(extract(encoder, variables, Arrays(records_of(encoder, texts))).x)


def prompts_of(names: Sequence[str], templates: Sequence[str]) -> Prompts:
    """The sentences of each class: every template with its name. UserError for a template without a place for it.

    >>> prompts_of(["t_shirt"], ["a photo of a {}."])
    {'t_shirt': ('a photo of a t shirt.',)}
    """
    for template in templates:
        if template.count(PLACE) != 1:
            raise UserError(
                f"zeroshot.templates: {template!r} has {template.count(PLACE)} places for a name; write one {{}}"
            )
    return {name: tuple(template.format(name.replace("_", " ")) for template in templates) for name in names}


def prompts_in(path: str, names: Sequence[str]) -> Prompts:
    """The sentences of each of the classes `names` that a JSON file gives: `{"sandal": ["a sandal", ...], ...}`."""
    found = _mapping(path)
    missing = [name for name in names if not found.get(name)]
    if missing:
        raise UserError(f"{path} has no prompts for the class {missing[0]!r}; it has {', '.join(list(found)[:8])}")
    return {name: tuple(found[name]) for name in names}


def class_vectors(prompts: np.ndarray) -> np.ndarray:
    """Unit vectors [K, F] of classes, of their prompts [K, P, F]: each normalised, their mean, normalised again."""
    return _unit(_unit(prompts).mean(axis=-2))


def cosines(x: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """[N, K] of features [N, F] and unit vectors [K, F]."""
    return np.asarray(_unit(x) @ vectors.T)


def _unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12))


def _mapping(path: str) -> dict[str, Any]:
    try:
        found = json.loads(files.read(Path(path)).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"zeroshot.prompts={path}: {error}; write a JSON file of lists of sentences by class"
        ) from error
    good = isinstance(found, dict) and all(
        isinstance(each, list) and all(isinstance(text, str) and text.strip() for text in each)
        for each in found.values()
    )
    if not good:
        raise UserError(
            f"zeroshot.prompts={path}: it has to be {{class: [sentence, ...], ...}}, without empty sentences"
        )
    return found
