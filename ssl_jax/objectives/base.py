"""The contract between an objective and the rest of the house.

Notation in every docstring: `B` global batch, `V` views, `N` tokens, `D` width, `H, W, C` image height, width, channels.
An objective is a frozen dataclass of modules and numbers, never arrays. The trainer calls

    views = objective.views(keys, batch, progress)              # randomness on data, no parameters
    out = objective.loss(params, extra, views, key, progress)   # differentiated with respect to params
    state = objective.update(params, extra, out, progress)      # once a step, after the optimiser

and knows nothing else about the method. All arrays are logical global arrays: under `jit` on a sharded batch a mean over
axis 0 is the mean over every device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, NamedTuple, NotRequired, Protocol, TypedDict, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from ssl_jax.data.augment import Augment as Augment
from ssl_jax.data.augment import Batch as Batch
from ssl_jax.data.augment import View as View
from ssl_jax.data.augment import Views as Views
from ssl_jax.data.augment import given
from ssl_jax.data.panels import Panel
from ssl_jax.errors import UserError
from ssl_jax.losses.mean import Mean

MICROBATCH_NORM = "BatchNorm statistics of a microbatch are not those of the batch; use norm='group'"

PyTree = Any


class Out(NamedTuple):
    """What a loss returns. The scalar that is minimised is `sum(term.value for term in losses.values())`."""

    losses: dict[str, Mean]
    metrics: dict[str, Mean] = {}  # noqa: RUF012 (a NamedTuple field: never written to)
    sums: PyTree = ()  # added over microbatches: centres, prototype usage
    rows: PyTree = ()  # concatenated over microbatches: keys for a queue
    batch_stats: PyTree = ()  # the BatchNorm collection after this batch

    def total(self) -> Array:
        """The loss, a scalar."""
        return reduce(jnp.add, (term.value for term in self.losses.values()))


class State(NamedTuple):
    """`params` are optimised; `extra` is everything else that must survive (teacher, batch_stats, queue, centre)."""

    params: dict
    extra: dict


def as_it_is(state: State) -> State:
    """The state itself."""
    return state


class Keys(NamedTuple):
    """The two scopes of randomness on data.

    `example` [B]: one key per example, a pure function of (seed, epoch, record id), so that one device and 256 draw the
    same views. `step`: one key for what a whole batch shares (block sizes), a pure function of (seed, step). `whole`: the
    keys of all examples of the global batch, where `example` are those of a microbatch of it.
    """

    example: Array
    step: Array
    whole: Array | None = None

    def rank(self, draw: Callable[[Array], Array]) -> tuple[Array, int]:
        """Where each example comes [B] in the order of what it draws (a scalar of its key) among the global batch, of how many.

        It depends neither on the device nor on the microbatch nor on the place in the batch.
        """
        whole = self.example if self.whole is None else self.whole
        drawn = jnp.sort(jax.vmap(draw)(whole))
        return jnp.searchsorted(drawn, jax.vmap(draw)(self.example)), len(whole)


class Progress(NamedTuple):
    """Where the run is, as traced int32 scalars. Schedules are pure functions of it."""

    step: Array | int
    total: Array | int


class Preprocess(Protocol):
    """Evaluation-time input: a deterministic function of a batch of records, serialised with the recipe."""

    def __call__(self, batch: Batch) -> Batch:
        """Records (e.g. `image` uint8 [B, H, W, C]) -> encoder inputs (e.g. `image` float32 [B, h, w, C])."""
        ...


@dataclass(frozen=True)
class Encoder:
    """What probes, export and embedding need: a module, where its variables live, and how to feed it.

    `path` points into `{"params": params, "extra": extra}`; `stats` likewise at its `batch_stats`, if it has any.
    `module.apply(variables, *inputs, method=method)` returns [B, F]; another `method` than `features` reads another layer.
    `fitted` makes of the raw numbers [N, F] of the probe split what is done to those of any record (weights of words).
    `plain` gives numbers [B, F] of records without the module (the raw row); None takes the inputs, flattened.
    `made` is where the paths lead: the trainer's state, or what is made of it where parameters lie in several places.
    """

    module: nn.Module
    path: tuple[str, ...]
    inputs: tuple[str, ...]
    preprocess: Preprocess
    stats: tuple[str, ...] = ()
    method: str = "features"
    plain: Callable[[Batch], Array] | None = None
    made: Callable[[State], State] = as_it_is
    fitted: Callable[[np.ndarray], Callable[[np.ndarray], np.ndarray]] | None = None

    def variables(self, state: State) -> dict:
        """The Flax variables of this encoder inside `state`."""
        tree = self.made(State(state.params, state.extra))._asdict()
        variables = {"params": _at(tree, self.path)}
        return variables | ({"batch_stats": _at(tree, self.stats)} if self.stats else {})

    def features(self, variables: dict, batch: Batch) -> Array:
        """Frozen features [B, F] in float32 of a batch of records."""
        inputs = self.preprocess(batch)
        features = self.module.apply(variables, *(inputs[k] for k in self.inputs), method=self.method)
        return cast(Array, features).astype(jnp.float32)

    def raw(self, batch: Batch) -> Array:
        """What there is without the module, [B, F] in float32."""
        if self.plain is not None:
            return self.plain(batch).astype(jnp.float32)
        inputs = self.preprocess(batch)
        flat = [jnp.asarray(inputs[k], jnp.float32).reshape(len(inputs[k]), -1) for k in self.inputs]
        return jnp.concatenate(flat, axis=1)


def _at(tree: dict, path: tuple[str, ...]) -> PyTree:
    for name in path:
        tree = tree[name]
    return tree


class Column(TypedDict):
    """A column of a table of results: its `title`, the `value` and perhaps the `spread` by name in what was measured.

    `unit` is "percent" (of a fraction), "number", or "exp": the exponential of the value, as perplexity is of nats. `better` is
    "lower" where less of it is better.
    """

    title: str
    value: str
    unit: str
    spread: NotRequired[str]
    better: NotRequired[str]


@dataclass(frozen=True)
class Objective:
    """Base of every objective. Subclasses are frozen dataclasses; only what differs needs to be written.

    Fields of a subclass are `encoder` (from the recipe's `model`: a Linen module, or several by name), `augment` (from the
    recipe's `augment`) and its own numbers (from the recipe's `objective`).
    """

    encoder: nn.Module | Mapping[str, nn.Module]
    augment: Augment

    validated: ClassVar[tuple[Column, ...]] = ()  # how `validate` is shown; (): every measure under its name
    fit_records = 0  # how many records `fitted` wants to see; a subclass may make a field of it

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Every module by the name of its parameters in `params`. `plan`, `verify` and parameter rules know no other."""
        return dict(self.encoder) if isinstance(self.encoder, Mapping) else {"encoder": self.encoder}

    @property
    def labels(self) -> tuple[str, ...]:
        """The fields with labels that it learns from; () for a method that needs none."""
        return ()

    @property
    def view(self) -> str:
        """The name of the main views; of their first array, where a view is several."""
        return self.augment.inputs[0]

    def given(self, views: Views) -> View:
        """The main views as an encoder takes them: an array [B, V, ...], or a tuple of them where a view is several."""
        return given(views, self.augment.inputs)

    def init(self, key: Array, views: Views) -> State:
        """Parameters and extra state for `views` of the shapes that training will see."""
        raise NotImplementedError

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """Crops, augmentations, masks and noise of a batch of records. No parameters, no labels unless they are needed."""
        raise NotImplementedError

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """The loss terms of one batch (or microbatch). `key` is for dropout and the like."""
        raise NotImplementedError

    def fitted(self, state: State, records: Batch) -> State:
        """The fresh state after a look at `fit_records` records of the data: codebooks. In numpy or jax; of the same shapes."""
        return state

    def update(self, params: dict, extra: dict, out: Out, progress: Progress) -> State:
        """After the optimiser: move the teacher, queue or centre. The default keeps new BatchNorm statistics."""
        if out.batch_stats:
            extra = extra | {"batch_stats": out.batch_stats}
        return State(params, extra)

    def encoders(self) -> dict[str, Encoder]:
        """Named encoders for evaluation. The default: the student at `params/encoder`, fed what a view is."""
        if isinstance(self.encoder, Mapping):
            raise UserError(
                f"{type(self).__name__} has the models {', '.join(self.encoder)} and does not say what each is given: it "
                "needs a method `encoders` that returns {name: Encoder(...)}"
            )
        stats = ("extra", "batch_stats", "encoder") if getattr(self.encoder, "norm", None) == "batch" else ()
        augment, path = self.augment, ("params", "encoder")
        plain, fitted = augment.plain, getattr(augment, "fitted", None)
        student = Encoder(self.encoder, path, augment.inputs, augment.evaluation, stats, plain=plain, fitted=fitted)
        return {"student": student}

    def embeddings(self, params: dict, extra: dict, batch: Batch) -> dict[str, Array]:
        """What the loss compares, [B, F] by name, for records as at evaluation; {} where there is no such thing.

        The encoder of a method can stay as it was drawn while the head on it maps everything to a point, so `health` looks
        at both.
        """
        return {}

    def assignments(self, params: dict, extra: dict, batch: Batch) -> dict[str, Array]:
        """Soft assignments [B, K] to prototypes by name, the teacher's if there is one, for records as at evaluation; {}
        where there
        are none. Rows sum to 1. `health` measures their entropy, and how many prototypes are in use.
        """
        return {}

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """Measures of the pretext task on held-out views (`accuracy`, `nats`, ...); {} where the loss is no task with answers.

        Each but `chance` is a column of the table, shown as `validated` says.
        """
        return {}

    def held_out_views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """What `validate` is given of a batch of records; drawn as in training where that is part of the task."""
        return self.views(keys, batch, progress)

    def whole(self, state: State) -> State:
        """The state with every parameter in its place, where training has some of them elsewhere: what `init_from` fills."""
        return state

    def parted(self, state: State, key: Array) -> State:
        """The inverse of `whole`, as training has it; `key` is for parameters that come new."""
        return state

    def check_source(self, source: Any) -> None:
        """Raise UserError for records that it cannot learn from."""

    def preview(self, views: Views) -> dict[str, Panel]:
        """What the model is given, for people, without parameters. Used by `ssl-jax preview`."""
        return self.augment.panel(views)

    def show(self, params: dict, extra: dict, views: Views) -> dict[str, Panel]:
        """What the model makes of it (reconstructions), for people. Used by `ssl-jax report`."""
        return {}

    def started_from(self, params: dict, extra: dict, anew: frozenset[str]) -> State:
        """The state after another run's arrays came into it (`init_from`), but for the entries `anew` of `extra`."""
        return State(params, extra)

    def warnings(self, batch_size: int) -> tuple[str, ...]:
        """What to tell before training with batches of this many records, although it can be done."""
        return ()

    def accumulation_refusal(self, extra: dict) -> str | None:
        """Why gradient accumulation would change this loss, or None where it is exact."""
        if "batch_stats" in extra:
            return MICROBATCH_NORM
        return None

    def gradient_cache_refusal(self, extra: dict) -> str | None:
        """Why a gradient cache cannot be used, or None where it is exact."""
        return f"{type(self).__name__} is no Pairwise objective; use optimizer.accumulation, which needs no second pass"


@dataclass(frozen=True)
class Pairwise(Objective):
    """An objective whose loss is `score(embed(views))`: rows of a batch meet each other (negatives, prototypes, moments).

    `embed` is per example and expensive; `score` is global and cheap. A microbatch has other negatives than the batch, so
    plain accumulation is refused, and a gradient cache does the same exactly.
    """

    def embed(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[PyTree, PyTree]:
        """Embeddings (floating-point arrays with leading axis B) and the new BatchNorm collection (or `()`)."""
        raise NotImplementedError

    def score(self, params: dict, extra: dict, embeddings: PyTree, progress: Progress) -> Out:
        """Loss terms of the embeddings of the whole batch."""
        raise NotImplementedError

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """`score(embed(views))`."""
        embeddings, batch_stats = self.embed(params, extra, views, key)
        return self.score(params, extra, embeddings, progress)._replace(batch_stats=batch_stats)

    def accumulation_refusal(self, extra: dict) -> str | None:
        """Always: the loss compares every row of the global batch with every other."""
        return (
            f"{type(self).__name__} compares every row of the global batch; a microbatch would have fewer negatives; "
            "use optimizer.gradient_cache"
        )

    def gradient_cache_refusal(self, extra: dict) -> str | None:
        """Only BatchNorm: it makes an embedding depend on its microbatch. An objective whose groups are them may differ."""
        return MICROBATCH_NORM if "batch_stats" in extra else None


def example_keys(seed: int, epoch: Array, record: Array) -> Array:
    """Per-example keys [B] from `(seed, epoch, record id)`; never from the place in the batch, worker or device."""
    root = jax.random.fold_in(jax.random.key(seed), 0)
    fold = jax.vmap(lambda e, r: jax.random.fold_in(jax.random.fold_in(root, e), r))
    return fold(epoch.astype(jnp.uint32), record.astype(jnp.uint32))


def step_key(seed: int, step: Array | int) -> Array:
    """The key that a whole batch shares, from `(seed, step)`; a different stream from the example keys."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 1), step)
