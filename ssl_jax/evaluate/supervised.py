"""The supervised baseline: the encoder that is evaluated, trained from scratch on labels by the recipe's own trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from jax import Array

from ssl_jax.data.augment import Augment, Batch, KindOfView, Views
from ssl_jax.data.panels import Panel
from ssl_jax.data.pipeline import batches
from ssl_jax.devices.mesh import batch_sharding, batch_shards, place_batch
from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import hidden_fields, unlabelled
from ssl_jax.evaluate.progress import Tick, unheard
from ssl_jax.evaluate.reader import Tolerance, strict
from ssl_jax.objectives.base import Encoder, State, as_it_is
from ssl_jax.objectives.supervised import Supervised
from ssl_jax.optim import optimizers, schedules
from ssl_jax.training.step import Setup, init_state, train_step

BATCH = 128
LEARNING_RATE = 1e-3


class SupervisedFit:
    """`fit(source, examples, seed) -> (encoder, variables)`: `encoder` from scratch, on its inputs of the views of `augment`.

    AdamW at 1e-3 with weight decay 0.05, 5 % warm-up and a cosine to zero, batches of 128 (or all of a smaller source),
    cross-entropy of the field `label` through a linear layer on the features that probes see. It runs on the devices of the mesh
    in use; `heard` makes what is told how far a training is.
    """

    def __init__(
        self,
        encoder: Encoder,
        augment: Augment,
        classes: int,
        label: str = "label",
        target: str | None = None,
        tolerance: Tolerance = strict,
        heard: Callable[[str], Tick] = lambda title: unheard,
        views: Callable[..., Any] = lambda source, seed: source,
    ) -> None:
        self._heard = heard
        self._encoder, self._label, self._target, self._tolerance = encoder, label, target, tolerance
        self._objective = Supervised(encoder.module, Inputs(augment, encoder), classes, method=encoder.method)
        self._views = views  # (source, seed=...) -> the source as it is learned from
        self._compiled = cache(self._compile)  # the draws of a few-label probe share one program
        self._started = cache(self._start)  # and all trainings the one that makes a state

    def __call__(self, source: Any, examples: int, seed: int) -> tuple[Encoder, dict]:
        """Train on `examples` examples of `source`."""
        size, bad = min(BATCH, len(source)), self._tolerance(source)
        steps = max(1, examples // size)
        step = self._compiled(steps, seed)
        place, share = _places(size)
        learned = self._views(source, seed=seed)
        stream = batches(learned, seed=seed, batch_size=size, bad=bad, process_index=share[0], process_count=share[1])
        seen = (self._seen(source, batch) for batch in stream)
        first, tick = next(seen), self._heard(f"training on {len(source)} labels")
        state, batch = self._started(seed)(_blank(first)), place(first)
        for done in range(1, steps + 1):
            state, _ = step(state, batch)
            batch = place(next(seen))
            tick(done * size, steps * size)
        stats = ("extra", "batch_stats", "encoder") if self._encoder.stats else ()
        encoder = replace(self._encoder, path=("params", "encoder"), stats=stats, made=as_it_is)
        return encoder, encoder.variables(State(state.params, state.extra))

    def _seen(self, source: Any, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The batch as `Supervised` wants it: what an encoder may see, and the labels under `label`."""
        if self._label not in batch:
            raise UserError(
                f"the probe split has no field {self._label!r} to learn from; name its labels in evaluate.label"
            )
        shown = unlabelled(batch, *hidden_fields(source, self._label, self._target))
        return shown | {"label": batch[self._label], "_id": batch["_id"], "_epoch": batch["_epoch"]}

    def _start(self, seed: int) -> Any:
        # A fresh state depends on no length of a training.
        return jax.jit(partial(init_state, self._setup(1, seed)))

    def _compile(self, steps: int, seed: int) -> Any:
        return jax.jit(partial(train_step, self._setup(steps, seed)), donate_argnums=0)

    def _setup(self, steps: int, seed: int) -> Setup:
        lr = schedules.warmup_cosine(LEARNING_RATE, steps, steps // 20)
        return Setup(self._objective, optimizers.adamw(lr, lambda step: 0.05), seed, steps)


def _blank(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a state is made for: one row without content, the same in every process. It depends on the shape of a record alone."""
    return {name: np.zeros_like(x[:1]) for name, x in batch.items()}


def _places(size: int) -> tuple[Callable[[dict[str, np.ndarray]], Any], tuple[int, int]]:
    """What puts a batch of `size` on the devices of the mesh in use, and which process of how many reads it.

    Where the devices do not divide it, each has all of it.
    """
    mesh = jax.sharding.get_mesh()
    if mesh.empty or size % batch_shards(mesh):
        return lambda batch: batch, (0, 1)
    return partial(place_batch, sharding=batch_sharding(mesh)), (jax.process_index(), jax.process_count())


@dataclass(frozen=True)
class Inputs:
    """An augmentation for one encoder of several: its inputs of every view. Where views lack them, those of evaluation."""

    augment: Augment
    encoder: Encoder

    @property
    def inputs(self) -> tuple[str, ...]:
        """Those of the encoder."""
        return self.encoder.inputs

    def __call__(self, keys: Array, batch: Batch) -> Views:
        """The views [B, V, ...] of the encoder's inputs, made without the labels."""
        records = unlabelled(batch)
        # Views of another kind (passages) are not what the main ones are: such an encoder sees records as at evaluation.
        of_a_kind = isinstance(self.encoder.preprocess, KindOfView)
        views = {} if of_a_kind else self.augment(keys, records)
        if views.keys() >= set(self.inputs):
            return {name: views[name] for name in self.inputs}
        return {name: x[:, None] for name, x in self.evaluation(records).items()}

    def evaluation(self, batch: Batch, policy: str = "") -> Batch:
        """What the encoder is given at evaluation."""
        given = self.encoder.preprocess(batch)
        return {name: given[name] for name in self.inputs}

    def plain(self, batch: Batch) -> Array:
        """As the raw row has it."""
        return self.encoder.raw(batch)

    def panel(self, views: Views) -> dict[str, Panel]:
        """Nothing: nobody looks at the views of a baseline."""
        return {}
