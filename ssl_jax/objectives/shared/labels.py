"""Labels that an objective is about to learn: are they there, and such as it says?"""

from __future__ import annotations

from typing import Any

import numpy as np

from ssl_jax.data.sources.base import values_of
from ssl_jax.errors import UserError
from ssl_jax.losses.tasks import TASKS


def check_labels(source: Any, label: str, task: str, classes: int) -> None:
    """UserError for labels of the field `label` that are missing, or that are not such as `task` and `classes` say."""
    labels = values_of(source, label)
    found = np.asarray(source[0].get(label, ())) if labels is None else labels
    if not found.size:
        fields = ", ".join(sorted(source[0]))
        raise UserError(f"objective.label={label!r}: the records have no such field, only {fields}; name labelled data")
    if TASKS[task].counted:
        _check_counted(found, label, task, classes)
        return
    numbers = found.size if labels is None else found[0].size
    if numbers != classes:
        raise UserError(
            f"objective.classes={classes}: {label!r} holds {numbers} numbers in each record; set it to that"
        )


def _check_counted(labels: np.ndarray, label: str, task: str, classes: int) -> None:
    if labels.dtype.kind not in "iu":
        raise UserError(
            f"objective.task={task}: {label!r} has type {labels.dtype}, and classes are whole numbers; "
            "use task=numbers or task=classes"
        )
    if task == "class" and labels.min() < 0:
        raise UserError(
            f"{int((labels < 0).sum()):,} of {labels.size:,} records have no {label!r}; take those that have one: "
            "ssl_jax.data.sources:Labelled, or ssl-jax data subset"
        )
    if labels.max() >= classes:
        raise UserError(
            f"objective.classes={classes}: {label!r} goes up to {labels.max()}; "
            f"set --config.objective.classes={labels.max() + 1}"
        )
