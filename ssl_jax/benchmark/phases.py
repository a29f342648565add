"""A training step taken apart into functions that are compiled and timed one by one.

augmentation: `objective.views`. forward: the networks, as a vector-Jacobian product's first half, so that what the backward
pass needs is written to memory. loss_head: from their outputs to the loss, with its gradient. backward: the second half.
update: gradient norm, optimiser, teacher and the choice to keep them. One after the other they are `train_step`. Their times
add up to more than a step's: the step need not write what one phase hands to the next, nor start five programs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax

from ssl_jax.errors import UserError
from ssl_jax.losses.mean import Mean
from ssl_jax.losses.regression import masked_patch_mse
from ssl_jax.objectives.base import Batch, Objective, Out, Pairwise, Progress, Views
from ssl_jax.objectives.dino import DINO
from ssl_jax.objectives.mae import MAE
from ssl_jax.training.step import Setup, TrainState, apply_gradient

PHASES = ("augmentation", "forward", "loss_head", "backward", "update")


class Halves(NamedTuple):
    """A loss as two functions of disjoint parameters.

    `networks(params, extra, views, key) -> (outputs, auxiliary)`, where `auxiliary` has no gradient, and
    `head(params, extra, outputs, auxiliary, views, progress) -> Out`, which reads no parameters but those of `modules`.
    """

    networks: Callable[..., tuple[Any, Any]]
    head: Callable[..., Out]
    modules: tuple[str, ...] = ()


def separable(objective: Objective) -> bool:
    """Whether `halves` knows where its networks end."""
    return isinstance(objective, MAE | Pairwise) or type(objective) is DINO


def halves(objective: Objective) -> Halves:
    """Where the networks of an objective end and its loss begins: MAE, DINO, and every `Pairwise` objective."""
    if isinstance(objective, MAE):
        return Halves(partial(_reconstruct, objective), partial(_pixels, objective))
    if type(objective) is DINO:
        return Halves(partial(_tokens, objective), partial(_prototypes, objective), tuple(objective.heads))
    if isinstance(objective, Pairwise):
        return Halves(partial(_embed, objective), partial(_score, objective))
    raise UserError(f"the loss of {type(objective).__name__} cannot be taken apart; see ssl_jax/benchmark/phases.py")


def _reconstruct(objective: MAE, params: dict, extra: dict, views: Views, key: jax.Array) -> tuple[Any, Any]:
    return objective.reconstruct(params, views)


def _pixels(objective: MAE, params: dict, extra: dict, out: Any, aux: Any, views: Views, progress: Progress) -> Out:
    return Out({"reconstruction": masked_patch_mse(out, objective.target(views), aux)})


def _tokens(objective: DINO, params: dict, extra: dict, views: Views, key: jax.Array) -> tuple[Any, Any]:
    return objective.student_tokens(params, views, key), objective.teacher_tokens(extra, views)


def _prototypes(
    objective: DINO, params: dict, extra: dict, out: Any, aux: Any, views: Views, progress: Progress
) -> Out:
    large, small, made = objective.class_terms(params, extra, out, aux, progress)
    return made._replace(losses={"dino": Mean(large.total + small.total, large.weight)})


def _embed(objective: Pairwise, params: dict, extra: dict, views: Views, key: jax.Array) -> tuple[Any, Any]:
    return objective.embed(params, extra, views, key)


def _score(objective: Pairwise, params: dict, extra: dict, out: Any, aux: Any, views: Views, progress: Progress) -> Out:
    return objective.score(params, extra, out, progress)._replace(batch_stats=aux)


def functions(setup: Setup) -> dict[str, Callable[..., Any]]:
    """The five phases by name, pure; `chained` says what each is given."""
    networks, head, modules = halves(setup.objective)

    def forward(state: TrainState, views: Views, key: jax.Array) -> tuple[Any, Any, Any]:
        body = {k: v for k, v in state.params.items() if k not in modules}
        return jax.vjp(lambda p: networks(p, state.extra, views, key), body, has_aux=True)

    def loss_head(state: TrainState, outputs: Any, auxiliary: Any, views: Views) -> tuple[Out, Any, Any]:
        def total(params: dict, outputs: Any) -> tuple[jax.Array, Out]:
            out = head(params, state.extra, outputs, auxiliary, views, setup.progress(state))
            return out.total(), out

        of_head = {k: state.params[k] for k in modules}
        (_, out), gradients = jax.value_and_grad(total, (0, 1), has_aux=True)(of_head, outputs)
        return out, *gradients

    def backward(pull: Callable[[Any], tuple], cotangent: Any) -> Any:
        return pull(cotangent)[0]

    made = (setup.views, forward, loss_head, backward, partial(apply_gradient, setup))
    return dict(zip(PHASES, made, strict=True))


def chained(calls: dict[str, Callable[..., Any]], state: TrainState, batch: Batch) -> tuple[Any, dict[str, tuple]]:
    """All phases, each on what the ones before made: (what `train_step` returns, the arguments of each phase)."""
    given: dict[str, tuple] = {}

    def run(name: str, *arguments: Any) -> Any:
        given[name] = arguments
        return calls[name](*arguments)

    views, key = run("augmentation", state, batch)
    outputs, pull, auxiliary = run("forward", state, views, key)
    out, of_head, cotangent = run("loss_head", state, outputs, auxiliary, views)
    gradient = run("backward", pull, cotangent) | of_head
    return run("update", state, out, gradient), given
