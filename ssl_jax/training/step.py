"""One training step, as pure functions of a setup, a state and a batch.

A step holds augmentation, loss, gradient, clipping, optimiser and `objective.update`; `run.py` jits it, with the state
donated, on a mesh. Scopes name its parts in the compiled program, for `plan --audit` and profilers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax import Array

from ssl_jax.devices.mesh import fetched, shard_batch, stored_as
from ssl_jax.errors import UserError
from ssl_jax.objectives.base import Batch, Keys, Objective, Out, Pairwise, Progress, example_keys, step_key
from ssl_jax.optim.schedules import Schedule
from ssl_jax.training import spikes

Metrics = dict[str, Array]


class TrainState(NamedTuple):
    """Everything that must survive. Counters are int32 scalars.

    `step` counts batches seen, `skipped` those whose update was not applied (not finite, or a spike), `nonfinite` how many
    of them came in a row just now. Schedules run on `step - skipped`: a skipped step leaves no trace but the counters.
    `window` is what `spikes` remembers of the steps that were applied.
    """

    step: Array
    skipped: Array
    nonfinite: Array
    params: dict
    extra: dict
    opt_state: Any
    window: Any = ()


@dataclass(frozen=True)
class Setup:
    """What does not change during a run.

    `lr`, of the number of updates, is what the step reports as its rate; the optimiser has its own.
    `skip_spikes` leaves out steps that `spikes.is_spike`. After `max_skipped` steps in a row that were not applied, none is
    applied any more: the state stays that of the first of them until the host, which looks one dispatch late, has seen it.
    `lr`, `total_steps` and what the objective is told of its progress count from the update `origin` on.
    """

    objective: Objective
    optimizer: optax.GradientTransformation
    seed: int
    total_steps: int
    accumulation: int = 1
    gradient_cache: int = 1
    skip_spikes: bool = False
    max_skipped: int = 2**31 - 1
    lr: Schedule | None = None
    origin: int = 0

    def progress(self, state: TrainState) -> Progress:
        """How many updates were applied since `origin`, of how many planned."""
        updates = state.step - state.skipped
        return Progress(jnp.maximum(updates - self.origin, 0) if self.origin else updates, self.total_steps)

    def views(self, state: TrainState, batch: Batch, whole: Batch | None = None) -> tuple[dict[str, Array], Array]:
        """The views of a batch at this step, and the key for the loss. `batch` holds `_id` and `_epoch` [B].

        It may be a microbatch of the `whole` one.
        """
        shared = step_key(self.seed, state.step)
        every = None if whole is None else self._example_keys(whole)
        keys = Keys(self._example_keys(batch), jax.random.fold_in(shared, 0), every)
        records = {k: v for k, v in batch.items() if not k.startswith("_")}
        with jax.named_scope("augment"):
            views = self.objective.views(keys, records, self.progress(state))
        return views, jax.random.fold_in(shared, 1)

    def _example_keys(self, batch: Batch) -> Array:
        return example_keys(self.seed, batch["_epoch"], batch["_id"])


def init_state(setup: Setup, batch: Batch) -> TrainState:
    """A fresh state for batches of this shape. Pure: jit it with `out_shardings` to initialise sharded."""
    zero = jnp.zeros((), jnp.int32)
    views, _ = setup.views(TrainState(zero, zero, zero, {}, {}, ()), batch)
    params, extra = setup.objective.init(jax.random.fold_in(jax.random.key(setup.seed), 2), views)
    return TrainState(zero, zero, zero, params, extra, setup.optimizer.init(params), spikes.empty())


def value_and_gradient(setup: Setup, state: TrainState, batch: Batch) -> tuple[Out, Any]:
    """The loss terms of a batch and the gradient of their sum: at once, or in microbatches.

    With `setup.gradient_cache`, see `cached_value_and_gradient`. With `setup.accumulation`, each term is
    `sum(total) / sum(weight)` over all microbatches, so the gradient is that of the full batch. The weights depend on data
    only: a first pass adds them up, in which the compiler drops the model as dead code. What the loss draws (stochastic
    depth) each microbatch draws for itself.
    """
    if setup.gradient_cache > 1:
        return cached_value_and_gradient(setup, state, batch)

    def out_of(params: dict, rows: Batch, part: Array | None = None) -> Out:
        views, key = setup.views(state, rows, batch)
        key = key if part is None else jax.random.fold_in(key, part)
        with jax.named_scope("loss"):
            return setup.objective.loss(params, state.extra, views, key, setup.progress(state))

    def weighted(params: dict, rows: Batch, part: Array, weights: dict[str, Array]) -> tuple[Array, Out]:
        out = out_of(params, rows, part)
        return reduce(jnp.add, (term.total / weights[name] for name, term in out.losses.items())), out

    if setup.accumulation == 1:
        (_, out), gradient = jax.value_and_grad(lambda p: _with_total(out_of(p, batch)), has_aux=True)(state.params)
        return out, gradient

    refusal = setup.objective.accumulation_refusal(state.extra)
    if refusal:
        raise UserError(f"optimizer.accumulation={setup.accumulation} is refused: {refusal}")
    rows = {k: _split(v, setup.accumulation) for k, v in batch.items()}
    counted = jax.lax.map(lambda r: {k: t.weight for k, t in out_of(state.params, r).losses.items()}, rows)
    weights = jax.tree.map(lambda w: w.sum(0), counted)

    def add(gradient: Any, microbatch: tuple[Batch, Array]) -> tuple[Any, Out]:
        (_, out), g = jax.value_and_grad(weighted, has_aux=True)(state.params, *microbatch, weights)
        return jax.tree.map(jnp.add, gradient, g), out

    parts = jnp.arange(setup.accumulation)
    gradient, outs = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, state.params), (rows, parts))
    summed = partial(jax.tree.map, lambda x: x.sum(0))
    return Out(summed(outs.losses), summed(outs.metrics), summed(outs.sums), jax.tree.map(_join, outs.rows)), gradient


def cached_value_and_gradient(setup: Setup, state: TrainState, batch: Batch) -> tuple[Out, Any]:
    """As `value_and_gradient` for a `Pairwise` objective, with the activations of one microbatch in memory at a time.

    Embed all microbatches without a gradient, score the embeddings of the whole batch, then embed each microbatch again and
    send back the gradient of its embeddings (Gao et al. 2021, arXiv 2101.06983). Exact, at the price of one more forward pass.
    """
    refusal = setup.objective.gradient_cache_refusal(state.extra)
    if setup.accumulation > 1:
        refusal = "it takes the place of optimizer.accumulation; set that to 1"
    if refusal:
        raise UserError(f"optimizer.gradient_cache={setup.gradient_cache} is refused: {refusal}")
    pairwise = cast(Pairwise, setup.objective)  # others refuse

    def embed(params: dict, rows: Batch, part: Array) -> Any:
        views, key = setup.views(state, rows, batch)
        with jax.named_scope("forward"):
            return pairwise.embed(params, state.extra, views, jax.random.fold_in(key, part))[0]

    def score(params: dict, embeddings: Any) -> tuple[Array, Out]:
        with jax.named_scope("loss"):
            return _with_total(pairwise.score(params, state.extra, embeddings, setup.progress(state)))

    def replay(gradient: Any, cached: tuple[tuple[Batch, Array], Any]) -> tuple[Any, None]:
        microbatch, cotangent = cached
        _, pull = jax.vjp(lambda params: embed(params, *microbatch), state.params)
        return jax.tree.map(jnp.add, gradient, *pull(cotangent)), None

    microbatches = {k: _split(v, setup.gradient_cache) for k, v in batch.items()}, jnp.arange(setup.gradient_cache)
    embedded = jax.lax.map(lambda m: embed(state.params, *m), microbatches)
    embeddings = jax.tree.map(lambda x: shard_batch(_join(x)), embedded)
    (_, out), (direct, cotangents) = jax.value_and_grad(score, (0, 1), has_aux=True)(state.params, embeddings)
    cotangents = jax.tree.map(lambda x: _split(x, setup.gradient_cache), cotangents)
    gradient, _ = jax.lax.scan(replay, direct, (microbatches, cotangents))
    return out, gradient


def train_step(setup: Setup, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One update. If loss or gradient is not finite (or a spike), no part of the state changes but the counters.

    Returns the new state and scalars: `loss`, `grad_norm`, `lr` if the setup has it, each loss term and metric by name,
    `skipped`, `skipped_in_a_row`.
    """
    return apply_gradient(setup, state, *value_and_gradient(setup, state, batch))


@jax.named_scope("update")
def apply_gradient(setup: Setup, state: TrainState, out: Out, gradient: Any) -> tuple[TrainState, Metrics]:
    """The second half of `train_step`: optimiser, `objective.update`, and whether to keep what they made."""
    stored, state = state, state._replace(opt_state=fetched(state.opt_state))
    updates, opt_state = setup.optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    params, extra = setup.objective.update(params, state.extra, out, setup.progress(state))

    loss, norm = out.total(), optax.global_norm(gradient)
    good = jnp.isfinite(loss) & jnp.isfinite(norm) & (state.nonfinite < setup.max_skipped)
    if setup.skip_spikes:
        good &= ~spikes.is_spike(state.window, loss, norm)
    after = (params, extra, opt_state, spikes.pushed(state.window, loss, norm))
    before = (state.params, state.extra, state.opt_state, state.window)
    params, extra, opt_state, window = jax.tree.map(partial(jnp.where, good), after, before)
    opt_state = stored_as(opt_state, stored.opt_state)
    bad = 1 - good.astype(jnp.int32)
    new = TrainState(state.step + 1, state.skipped + bad, (state.nonfinite + 1) * bad, params, extra, opt_state, window)
    named = {k: m.value for k, m in (out.losses | out.metrics).items()}
    if setup.lr is not None:
        named["lr"] = jnp.asarray(setup.lr(jnp.asarray(setup.progress(stored).step)), jnp.float32)
    return new, {"loss": loss, "grad_norm": norm, "skipped": new.skipped, "skipped_in_a_row": new.nonfinite} | named


def train_steps(setup: Setup, state: TrainState, batches: Batch) -> tuple[TrainState, Metrics]:
    """`train_step` over batches stacked along axis 0, in one dispatch; metrics come back stacked."""
    return jax.lax.scan(partial(train_step, setup), state, batches)


def _with_total(out: Out) -> tuple[Array, Out]:
    return out.total(), out


def _split(x: Array, parts: int) -> Array:
    # Strided rows: every microbatch lies across all devices, so that nothing moves between them.
    return x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1)


def _join(x: Array) -> Array:
    return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])
