"""The supervised baseline: the recipe's own encoder, trained from scratch on labels by the recipe's own trainer."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import jax

from ssl_jax.data.pipeline import batches
from ssl_jax.objectives.base import Encoder, State
from ssl_jax.objectives.supervised import Supervised
from ssl_jax.optim import optimizers, schedules
from ssl_jax.recipe import Recipe
from ssl_jax.training.step import Setup, init_state, train_step

BATCH = 128
LEARNING_RATE = 1e-3


class SupervisedFit:
    """`fit(source, examples, seed) -> (encoder, variables)`, with the encoder and augmentation of `recipe`.

    AdamW at 1e-3 with weight decay 0.05, 5 % warm-up and a cosine to zero, batches of 128 (or all of a smaller source),
    cross-entropy through a linear layer on the features that probes see.
    """

    def __init__(self, recipe: Recipe, classes: int) -> None:
        encoder, augment = recipe.model.build(), recipe.augment.build()
        self._objective = Supervised(encoder, augment, classes)
        self._compiled = cache(self._compile)  # the draws of a few-label probe share one program

    def __call__(self, source: Any, examples: int, seed: int) -> tuple[Encoder, dict]:
        """Train on `examples` examples of `source`."""
        size = min(BATCH, len(source))
        steps = max(1, examples // size)
        init, step = self._compiled(steps, seed)
        stream = batches(source, seed=seed, batch_size=size)
        batch = next(stream)
        state = init(batch)
        for _ in range(steps):
            state, _ = step(state, batch)
            batch = next(stream)
        encoder = self._objective.encoders()["student"]
        return encoder, encoder.variables(State(state.params, state.extra))

    def _compile(self, steps: int, seed: int) -> tuple[Any, Any]:
        lr = schedules.warmup_cosine(LEARNING_RATE, steps, steps // 20)
        setup = Setup(self._objective, optimizers.adamw(lr, lambda step: 0.05), seed, steps)
        return jax.jit(partial(init_state, setup)), jax.jit(partial(train_step, setup), donate_argnums=0)
