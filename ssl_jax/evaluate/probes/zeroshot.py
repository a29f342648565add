"""Zero-shot: is a record nearest to the sentences that name its class? Nothing is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.evaluate.accuracy import accuracy
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.prompts import Prompts, class_vectors, cosines, prompts_in, prompts_of


@dataclass(frozen=True)
class Probe:
    """Cosines of the test records' embeddings, of any modality, with vectors of classes (CLIP, arXiv 2103.00020, section 3.1.4).

    encoders: the one whose records are classified.
    reader: the encoder of texts of the same space.
    templates: sentences with a place `{}` for the name of a class.
    prompts: a JSON file with the sentences of each class, in the place of templates.
    names: of the classes, where those of the labels are no words.
    """

    encoders: Sequence[str] = ("image_embedding",)
    reader: str = "text_embedding"
    templates: Sequence[str] = ("a photo of a {}.",)
    prompts: str = ""
    names: Sequence[str] = ()

    columns: ClassVar = (
        {"title": "zero-shot", "value": "accuracy", "unit": "percent"},
        {"title": "one template", "value": "single", "spread": "single_std", "unit": "percent"},
    )

    @property
    def asks(self) -> tuple[str, ...]:
        """The encoder that reads the prompts."""
        return (self.reader,)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        how = f"prompts of {self.prompts}" if self.prompts else f"{len(self.templates)} templates"
        return f"zero-shot: {how}, each embedded and normalised, their mean normalised; nearest by cosine; nothing is learnt"

    def run(self, split: Split) -> dict[str, Any]:
        """`accuracy` with `interval` and `chance`, `top5`; over the single templates the mean `single`, `single_std`, and `each`,
        which says how much the wording counts.

        Raises UserError for classes without names.
        """
        prompts = self._prompts(split)
        vectors = vectors_of(prompts, split, self.reader)
        labels, scores = split.test.labels, cosines(split.test.x, vectors["all"])
        told = accuracy(scores.argmax(axis=1), labels)
        each = {
            t: float(np.mean(cosines(split.test.x, v).argmax(axis=1) == labels))
            for t, v in vectors.items()
            if t != "all"
        }
        spread = (
            {"single": float(np.mean([*each.values()])), "single_std": float(np.std([*each.values()]))} if each else {}
        )
        five = np.argsort(-scores, axis=1, kind="stable")[:, :5]
        return (
            told
            | spread
            | {
                "top5": float((five == labels[:, None]).any(axis=1).mean()),
                "each": each,
                "records": {
                    "correct": (scores.argmax(axis=1) == labels).astype(np.float64),
                    "predicted": scores.argmax(axis=1),
                },
            }
        )

    def _prompts(self, split: Split) -> Prompts:
        names = tuple(self.names) or split.names
        if len(names) < split.classes or not names:
            raise UserError(
                f"zeroshot: {split.classes} classes, and names for {len(names)}; give them by names=(...) of the probe, or "
                "name a source that has them"
            )
        return prompts_in(self.prompts, names) if self.prompts else prompts_of(names, tuple(self.templates))


def vectors_of(prompts: Prompts, split: Split, reader: str) -> dict[str, np.ndarray]:
    """Vectors of classes [K, F]: under "all" those of all their prompts, and by its number those of each place in the lists,
    where all are as long."""
    if reader not in split.read:
        raise UserError(
            f"zeroshot.reader={reader!r}: there is no such encoder of texts; use {', '.join(split.read) or 'none'}"
        )
    texts = [text for each in prompts.values() for text in each]
    rows = np.split(split.read[reader](texts), np.cumsum([len(each) for each in prompts.values()])[:-1])
    together = {"all": np.stack([class_vectors(each) for each in rows])}
    counts = {len(each) for each in rows}
    alone = range(counts.pop()) if len(counts) == 1 else range(0)
    return together | {str(i): np.stack([class_vectors(each[i : i + 1]) for each in rows]) for i in alone}
