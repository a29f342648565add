"""Where evaluation looks for an encoder whose parameters lie in several places."""

from __future__ import annotations

from dataclasses import dataclass

from ssl_jax.objectives.base import Objective, State


@dataclass(frozen=True)
class Whole:
    """From the trainer's state to one with the whole encoder, where evaluation looks for it."""

    objective: Objective
    averaged: bool = False

    def __call__(self, state: State) -> State:
        """Of the average, if that is asked for."""
        params = state.extra["average"] if self.averaged else state.params
        return self.objective.whole(State(params, state.extra))
