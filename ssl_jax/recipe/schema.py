"""Every key of a recipe, with its type, default and range.

The lines `key: meaning` of a section's docstring are what docs/recipe-keys.md says of it (`reference.py`).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from ssl_jax.data.cropped import PLACES
from ssl_jax.data.image.resize import MODES
from ssl_jax.data.order import whole_batches
from ssl_jax.errors import UserError
from ssl_jax.recipe.batch_size import BATCH_RULES, RULES
from ssl_jax.recipe.component import Component, Components
from ssl_jax.recipe.merging import UNITS as UNITS
from ssl_jax.recipe.probes import probe_component
from ssl_jax.recipe.values import did_you_mean, shown


@dataclass(frozen=True)
class Duration:
    """A length of training. In a recipe the unit is in the key: `warmup_percent=5`, `every_steps=100`."""

    value: float
    unit: str = "steps"

    def steps(self, batch_size: int, num_examples: int, total_steps: int) -> int:
        """In optimiser steps, rounded up: 0 only where the value is 0. Exact in decimals (5 percent of 100 is 5)."""
        value = Fraction(str(self.value))
        if self.unit == "epochs":
            value *= Fraction(num_examples, batch_size)
        elif self.unit == "examples":
            value /= batch_size
        elif self.unit == "percent":
            value *= Fraction(total_steps, 100)
        return math.ceil(value)


def require(ok: bool, key: str, value: Any, rule: str) -> None:
    """UserError that `key` has a `value` against the `rule`, unless `ok`."""
    if not ok:
        raise UserError(f"{key}={shown(value)}: must be {rule}")


@dataclass(frozen=True)
class Data:
    """Where examples come from.

    pretrain: the source of records to learn from; labels, if they have any, only the objective `Finetune` looks at.
    probe: the source of labelled records that probes are fitted on; None: no evaluation.
    test: the source of labelled records that probes are tested on; None: no evaluation.
    crop: where random crops are cut. "device": of squares, to which the source brings every picture; "host": of whole pictures
        at their own size, each decoded once for all of its views.
    resize: how the host resizes a crop: "antialias" as Pillow and torchvision, or "fast", not antialiased, by OpenCV.
    drop_last: whether batches end with the epoch: the records that do not fill a batch are left out, others each time, as by
        torch's `drop_last`. False: a batch may lie across two epochs, and every record is seen once in each.
    threads: how many decode on the host; 0: the training thread does.
    workers: how many processes decode on the host, in the place of threads.
    prefetch: batches that are kept ready.
    max_bad_fraction: the run stops when more of the records than this cannot be read.
    examples: how many records `pretrain` has, so that `ssl-jax plan` works where the data is not; training counts them.
    """

    pretrain: Component
    probe: Component | None = None
    test: Component | None = None
    crop: str = "device"
    resize: str = "antialias"
    drop_last: bool = False
    threads: int = 0
    workers: int = 0
    prefetch: int = 2
    max_bad_fraction: float = 0.001
    examples: int | None = None

    def __post_init__(self) -> None:
        require(self.crop in PLACES, "data.crop", self.crop, " or ".join(PLACES))
        require(self.resize in MODES, "data.resize", self.resize, " or ".join(MODES))
        require(self.threads >= 0, "data.threads", self.threads, "0 or more")
        require(self.workers >= 0, "data.workers", self.workers, "0 or more")
        require(self.prefetch >= 0, "data.prefetch", self.prefetch, "0 or more")
        require(self.examples is None or self.examples > 0, "data.examples", self.examples, "greater than 0")
        require(0 <= self.max_bad_fraction <= 1, "data.max_bad_fraction", self.max_bad_fraction, "between 0 and 1")


CLIPS = ("global", "module", "tensor")
# Optimisers whose update has about the size of the learning rate in every element.
ADAM_LIKE, LARGEST_ADAM_LR = r"ada(m|n|belief|bound)|adopt|amsgrad|lion|yogi", 0.02
GROUP_FACTORS, GROUP_DURATIONS = ("lr_scale", "weight_decay", "constant"), ("freeze_until", "zero_lr_until")
GROUP_KEYS = (*GROUP_FACTORS, *(f"{key}_{unit}" for key in GROUP_DURATIONS for unit in UNITS))


def _check_group(group: Any) -> None:
    """UserError unless `group` is (regex, {key of GROUP_KEYS: number of at least 0})."""
    try:
        pattern, keys = group
        re.compile(pattern)
        pairs = dict(keys).items()
    except (TypeError, ValueError, re.error) as error:
        raise UserError(f"optimizer.groups: {group!r} is not (path regex, {{key: value}}): {error}") from None
    for key, value in pairs:
        if key not in GROUP_KEYS:
            near = did_you_mean(key, GROUP_KEYS)
            raise UserError(f"optimizer.groups: {pattern!r} has no key {key!r}{near} Keys: {', '.join(GROUP_KEYS)}")
        require(isinstance(value, int | float) and value >= 0, f"optimizer.groups[{pattern}].{key}", value, "0 or more")


@dataclass(frozen=True)
class Optimizer:
    """The optimiser, what it leaves out, and what becomes of the gradient before.

    A step whose loss or gradient is not finite is not applied.

    name: adamw, sgd, lars, ... of ours, one of optax ("optax:adan"), or your own ("my_package:MyOptimizer", with `--allow`), see
        `optim/names.py`.
    lr: the peak of the learning rate, for `reference_batch` examples a step.
    reference_batch: the batch size that `lr` belongs to, from which it is scaled; None: this recipe's own.
    scaling: how the rate follows the batch size.
    weight_decay: how much of a parameter is taken off, times the learning rate.
    weight_decay_final: the decay moves here along a cosine; None: it stays.
    b1: of AdamW: decay of the mean of gradients. This and the next five also go to other optimisers that take them, where they
        are not the default here.
    b2: of AdamW: decay of the mean of their squares.
    eps: of AdamW: added to the root of the mean of squares.
    momentum: of SGD and LARS.
    nesterov: of SGD: look ahead by one step of the momentum.
    eta: of LARS: the trust coefficient.
    options: what else the optimiser takes, by name; they win.
    groups: (path regex, {key: value}) of parameters with rules of their own, see `optim/param_rules.py`: factors `lr_scale` and
        `weight_decay`, `constant` (whether the rate stays at its peak), durations `freeze_until_<unit>` (parameter and moments)
        and `zero_lr_until_<unit>` (parameter only).
    layer_decay: multiplies the rate once for each encoder layer, from the last to the first; None: all learn alike.
    no_decay: a regex of the paths without weight decay; None: biases, norms, tokens and temperatures; "": none are left out.
    clip: the largest norm of the gradient; None: it is not clipped.
    clip_by: what that norm is taken of.
    accumulation: microbatches that make one step, of the full batch's gradient.
    gradient_cache: microbatches that make one step, where the loss compares the rows of a batch.
    max_nonfinite_steps: the run stops after this many steps in a row that were not applied.
    skip_spikes: a step whose loss or gradient norm is far above the last 128 is not applied either.
    """

    name: str = "adamw"
    lr: float = 1e-3
    reference_batch: int | None = None
    scaling: str = "linear"
    weight_decay: float = 0.05
    weight_decay_final: float | None = None
    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8
    momentum: float = 0.9
    nesterov: bool = False
    eta: float = 1e-3
    options: dict | None = None
    groups: tuple = ()
    layer_decay: float | None = None
    no_decay: str | None = None
    clip: float | None = None
    clip_by: str = "global"
    accumulation: int = 1
    gradient_cache: int = 1
    max_nonfinite_steps: int = 5
    skip_spikes: bool = False

    def __post_init__(self) -> None:
        require(self.lr > 0, "optimizer.lr", self.lr, "greater than 0")
        require(self.scaling in ("linear", "sqrt"), "optimizer.scaling", self.scaling, "'linear' or 'sqrt'")
        for key in ("weight_decay", "weight_decay_final"):
            value = getattr(self, key)
            require(value is None or value >= 0, f"optimizer.{key}", value, "0 or more")
        for key in ("b1", "b2", "momentum"):
            require(0 <= getattr(self, key) < 1, f"optimizer.{key}", getattr(self, key), "at least 0 and below 1")
        require(self.clip_by in CLIPS, "optimizer.clip_by", self.clip_by, f"one of {', '.join(CLIPS)}")
        for group in self.groups:
            _check_group(group)
        for key in (
            "eps",
            "eta",
            "reference_batch",
            "clip",
            "layer_decay",
            "accumulation",
            "gradient_cache",
            "max_nonfinite_steps",
        ):
            value = getattr(self, key)
            require(value is None or value > 0, f"optimizer.{key}", value, "greater than 0")

    def scaled_lr(self, batch_size: int) -> tuple[float, str | None]:
        """The learning rate for `batch_size`, and what to tell the user if it is another one than written.

        linear: `lr * B / reference_batch` (Goyal et al. 2017); sqrt: `lr * sqrt(B / reference_batch)`.
        """
        if self.reference_batch in (None, batch_size):
            return self.lr, None
        ratio = batch_size / self.reference_batch
        factor = ratio if self.scaling == "linear" else math.sqrt(ratio)
        rule = f"x {'sqrt' if self.scaling == 'sqrt' else ''}({batch_size} / {self.reference_batch})"
        lr = self.lr * factor
        return lr, f"learning rate {self.lr:g} -> {lr:g}: {self.scaling} rule, {rule} for batch_size={batch_size}"

    def lr_warning(self, batch_size: int) -> str | None:
        """What to tell the user if the learning rate for `batch_size` is too large to be meant, for steps of Adam's size."""
        lr, note = self.scaled_lr(batch_size)
        if lr <= LARGEST_ADAM_LR or not re.search(ADAM_LIKE, self.name):
            return None
        root = f" (here {replace(self, scaling='sqrt').scaled_lr(batch_size)[0]:g})" if note else ""
        milder = f"try --config.optimizer.scaling=sqrt{root}, or " if self.scaling == "linear" else ""
        why = f"above {LARGEST_ADAM_LR:g}, where {self.name} seldom trains"
        return f"{note or f'learning rate {lr:g}'}: {why}; {milder}set --config.optimizer.lr"


@dataclass(frozen=True)
class Schedule:
    """Learning rate over time: a linear warm-up from `start` to 1, then `name` to `final`, in fractions of the peak.

    name: the curve after the warm-up: one of ours (cosine, constant, milestones, ...), of optax ("optax:exponential_decay"), or
        your own, see `optim/names.py`.
    warmup: how long the rate rises.
    start: the rate at the first step.
    count_from: step t of a warm-up of n steps has (t + count_from) / n of the rise: 0, or 1 as in lightly's scheduler, where no
        step has a rate of 0.
    final: the rate at the last step.
    milestones: of `name="milestones"`: where the rate is multiplied by `factor`, in fractions of the run.
    factor: of `name="milestones"`: by how much.
    options: what else the schedule takes, by name.
    """

    name: str = "cosine"
    warmup: Duration = Duration(5, "percent")
    start: float = 0.0
    count_from: int = 0
    final: float = 0.0
    milestones: tuple[float, ...] = ()
    factor: float = 0.1
    options: dict | None = None

    def __post_init__(self) -> None:
        require(
            all(0 <= m <= 1 for m in self.milestones), "schedule.milestones", self.milestones, "fractions of the run"
        )
        require(self.count_from in (0, 1), "schedule.count_from", self.count_from, "0 or 1")
        for key in ("start", "final", "factor"):
            value = getattr(self, key)
            require(0 <= value <= 1, f"schedule.{key}", value, "between 0 and 1 (a fraction of the peak)")


@dataclass(frozen=True)
class Mesh:
    """Devices along each axis, and what is where.

    data: devices that hold copies of the parameters and other rows of the batch; -1: all that are left.
    fsdp: devices that have other rows of the batch, and share out parameters and optimiser's state.
    tensor: devices that share each layer's work.
    rules: (path regex, axes) of parameters that are split in another way than `fsdp` and `tensor` say.
    steps_per_dispatch: steps that one call of the compiled program makes.
    offload: "optimizer" keeps the optimiser's state in the host's memory between its updates.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    rules: tuple = ()
    steps_per_dispatch: int = 1
    offload: str = "none"

    def __post_init__(self) -> None:
        for key in ("data", "fsdp", "tensor"):
            size = getattr(self, key)
            require(size == -1 or size > 0, f"mesh.{key}", size, "a number of devices, or -1 for all that are left")
        require(self.steps_per_dispatch > 0, "mesh.steps_per_dispatch", self.steps_per_dispatch, "greater than 0")
        require(self.offload in ("none", "optimizer"), "mesh.offload", self.offload, "none or optimizer")


@dataclass(frozen=True)
class Checkpoint:
    """When the state is saved. A save that fails does not stop the run.

    every: the time between two checkpoints.
    keep: how many of the newest are kept.
    keep_every: one in each such span is kept for good; 0: none.
    max_failures: this many failed saves in a row stop the run.
    """

    every: Duration = Duration(25, "percent")
    keep: int = 3
    keep_every: Duration = Duration(0, "steps")
    max_failures: int = 3

    def __post_init__(self) -> None:
        require(self.keep > 0, "checkpoint.keep", self.keep, "greater than 0")
        require(self.max_failures > 0, "checkpoint.max_failures", self.max_failures, "greater than 0")


@dataclass(frozen=True)
class Watch:
    """What ends a run that goes wrong without an error.

    hang_seconds: it exits when a step, or a wait for data, takes so long; 0: never.
    startup_seconds: it exits when restoring, compiling, a check or a save takes so long.
    replicas: how often copies of the state are compared between devices; 0: never.
    """

    hang_seconds: float = 1800.0
    startup_seconds: float = 7200.0
    replicas: Duration = Duration(10, "percent")

    def __post_init__(self) -> None:
        require(self.hang_seconds >= 0, "watch.hang_seconds", self.hang_seconds, "0 or more")
        require(self.startup_seconds > 0, "watch.startup_seconds", self.startup_seconds, "greater than 0")


@dataclass(frozen=True)
class Evaluate:
    """How good the representation is.

    encoder: which of the objective's encoders; several by name as a tuple.
    probes: what is fitted on their features: linear, knn, fewshot, regression, a dotted path, or a dict of target and options.
    every: how often the cheap online probe and the measures of collapse are taken.
    health_examples: records for the measures of collapse.
    shots: labels per class of the probe `fewshot`.
    draws: subsets of labels that `fewshot` averages over.
    baselines: what stands beside the result: raw, random, supervised.
    supervised_examples: how long the supervised baseline trains on all labels, in examples.
    supervised_few_examples: how long it trains on each draw of few labels, in examples.
    label: the field of the records that probes predict.
    target: the field of the records that the probe `regression` predicts; "": none.
    workers: rows of the table that are measured at a time, where one device is used.
    cache_gib: how many GiB of features a run keeps in eval/features; 0: none.
    """

    encoder: str | tuple[str, ...] = "student"
    probes: tuple[str | dict[str, Any], ...] = ("linear", "knn", "fewshot")
    every: Duration = Duration(10, "percent")
    health_examples: int = 1000
    shots: tuple[int, ...] = (10, 100)
    draws: int = 3
    baselines: tuple[str, ...] = ("raw", "random", "supervised")
    supervised_examples: int = 100_000
    supervised_few_examples: int = 20_000
    label: str = "label"
    target: str = ""
    workers: int = 1
    cache_gib: float = 8.0

    def __post_init__(self) -> None:
        require(self.cache_gib >= 0, "evaluate.cache_gib", self.cache_gib, "at least 0")
        for key in ("workers", "health_examples", "draws", "supervised_examples", "supervised_few_examples"):
            value = getattr(self, key)
            require(value is None or value > 0, f"evaluate.{key}", value, "greater than 0")
        require(all(s > 0 for s in self.shots), "evaluate.shots", self.shots, "numbers of labels greater than 0")
        require(bool(self.encoder), "evaluate.encoder", self.encoder, "the name of an encoder, or several")
        require(bool(self.label), "evaluate.label", self.label, "a field of the records")


ACTIONS = ("none", "pause", "rollback")


@dataclass(frozen=True)
class Health:
    """What a check looks at beside features, and what becomes of a run that it calls collapsed. How often: `evaluate.every`.

    action: "none" tells it; "pause" saves the state and ends the run; "rollback" ends it and renames the checkpoints since the
        last healthy check, so that the same command goes on from the one before.
    views: augmented views of each record for LiDAR and alignment; 0: they are not measured.
    noise_parts: parts of a batch whose gradients are compared for the gradient-noise scale; 0: it is not measured.
    """

    action: str = "none"
    views: int = 0
    noise_parts: int = 0

    def __post_init__(self) -> None:
        require(self.action in ACTIONS, "health.action", self.action, f"one of {', '.join(ACTIONS)}")
        for key in ("views", "noise_parts"):
            require(
                getattr(self, key) != 1 and getattr(self, key) >= 0,
                f"health.{key}",
                getattr(self, key),
                "0, or 2 or more",
            )


@dataclass(frozen=True)
class Log:
    """What is written while training.

    every: the time between two lines of metrics.
    tensorboard: whether metrics are written for TensorBoard too.
    pictures: whether the report has pictures.
    wandb: whether metrics go to Weights & Biases, offline unless WANDB_MODE says otherwise.
    mlflow: whether metrics go to MLflow, into the run directory unless MLFLOW_TRACKING_URI says otherwise.
    """

    every: Duration = Duration(10, "steps")
    tensorboard: bool = True
    pictures: bool = True
    wandb: bool = False
    mlflow: bool = False

    def __post_init__(self) -> None:
        require(self.every.value > 0, f"log.every_{self.every.unit}", self.every.value, "greater than 0")

    @property
    def trackers(self) -> tuple[str, ...]:
        """The names of those that metrics go to."""
        return tuple(name for name in ("wandb", "mlflow") if getattr(self, name))


@dataclass(frozen=True)
class InitFrom:
    """What this run starts from: another run, or public weights. With neither, all parameters are drawn.

    Of weights with several towers, such as CLIP's, each tower here takes its own, and their heads come along where they fit.

    workdir: a run directory. Student, teacher and all that fits are taken; of a run with other heads or of another method, the
        encoder alone.
    step: which of its checkpoints; None: the newest.
    weights: a weight file or folder (docs/weights.md), or the id of a repository in the hub's local cache: its encoder, with
        student and teacher equal and heads new.
    module: which of the objective's encoders the weights are for.
    partial: whether it may be a part of the encoder: what the weights lack is drawn, and what they have beside it is left.
    download: whether a repository that is not in the local cache is fetched.
    towers: encoders that start from something of their own, each as "name=path" of a run directory or of weights.
    """

    workdir: str = ""
    step: int | None = None
    weights: str = ""
    module: str = "encoder"
    partial: bool = False
    download: bool = False
    towers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.workdir and self.weights:
            raise UserError(
                f"init_from.workdir={self.workdir} and init_from.weights={self.weights}: a run starts from one of them; "
                'set the other to ""'
            )
        for pair in self.towers:
            name, equals, path = pair.partition("=")
            require(bool(name and equals and path), "init_from.towers", pair, "name=path, such as image=runs/mae")

    @property
    def given(self) -> bool:
        """Whether there is anything to start from."""
        return bool(self.workdir or self.weights or self.towers)


@dataclass(frozen=True)
class Phase:
    """A stretch of a run, see `recipe/phases.py`. `length` None: what the others leave. `recipe` has the phase's overrides."""

    name: str
    length: Duration | None
    schedules: str
    recipe: Recipe


@dataclass(frozen=True)
class Recipe:
    """A whole run. Exactly one of `total_steps`, `total_epochs` and `total_examples` is set.

    seed: of everything that is drawn.
    batch_size: examples a step, over all devices; to override it changes what depends on it by `batch_rules`.
    objective: what is learned.
    model: the encoder, or several by name.
    data: where examples come from.
    augment: how a record becomes views.
    total_steps: the length of the run in optimiser steps.
    total_epochs: its length in passes over the records.
    total_examples: its length in examples.
    optimizer: the optimiser, what it leaves out, and what becomes of the gradient before.
    schedule: the learning rate over time.
    mesh: devices, and what is where.
    checkpoint: when the state is saved.
    watch: what ends a run that goes wrong without an error.
    evaluate: how good the representation is.
    health: what a check looks at beside features, and what becomes of a collapsed run.
    log: what is written while training.
    init_from: another run, or public weights, that this one starts from.
    batch_rules: what follows when `batch_size` is overridden, see `recipe/batch_size.py`.
    phases: stretches of the run that have part of the recipe otherwise, see [phases](phases.md); (): one, by the recipe itself.
    """

    seed: int
    batch_size: int
    objective: Component
    model: Component | Components
    data: Data
    augment: Component
    total_steps: int | None = None
    total_epochs: int | None = None
    total_examples: int | None = None
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    mesh: Mesh = Mesh()
    checkpoint: Checkpoint = Checkpoint()
    watch: Watch = Watch()
    evaluate: Evaluate = Evaluate()
    health: Health = Health()
    log: Log = Log()
    init_from: InitFrom = InitFrom()
    batch_rules: tuple = BATCH_RULES
    phases: tuple = ()

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**31, "seed", self.seed, "at least 0 and below 2**31")
        require(self.batch_size > 0, "batch_size", self.batch_size, "greater than 0")
        totals = {k: getattr(self, k) for k in ("total_steps", "total_epochs", "total_examples")}
        given = {k: v for k, v in totals.items() if v is not None}
        if len(given) != 1:
            found = ", ".join(f"{k}={v}" for k, v in given.items()) or "none"
            raise UserError(f"give exactly one of total_steps, total_epochs and total_examples; found {found}")
        for key, value in given.items():
            require(value > 0, key, value, "greater than 0")
        for pair in self.batch_rules:
            known = isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and pair[1] in RULES
            require(known, "batch_rules", pair, f"(path, rule), where a rule is one of {', '.join(RULES)}")

    def steps(self, num_examples: int) -> int:
        """Optimiser steps of the whole run over `num_examples` pretraining records, rounded up."""
        unit = next(u for u in UNITS if getattr(self, f"total_{u}", None) is not None)
        return Duration(getattr(self, f"total_{unit}"), unit).steps(self.batch_size, self.epoch(num_examples), 0)

    def duration(self, duration: Duration, num_examples: int) -> int:
        """`duration` in optimiser steps of this run: `recipe.duration(recipe.schedule.warmup, len(source))`."""
        return duration.steps(self.batch_size, self.epoch(num_examples), self.steps(num_examples))

    def epoch(self, num_examples: int) -> int:
        """Examples of an epoch over `num_examples` records: all, or with `data.drop_last` those of whole batches."""
        return whole_batches(num_examples, self.batch_size) if self.data.drop_last else num_examples

    def parameter_groups(self, num_examples: int) -> tuple[tuple[str, dict[str, float]], ...]:
        """`optimizer.groups` with their durations in steps, under the keys `freeze_until` and `zero_lr_until`."""

        def in_steps(key: str, value: float) -> tuple[str, float]:
            name, _, unit = key.rpartition("_")
            return (name, self.duration(Duration(value, unit), num_examples)) if unit in UNITS else (key, value)

        return tuple(
            (pattern, dict(in_steps(key, value) for key, value in dict(keys).items()))
            for pattern, keys in self.optimizer.groups
        )

    def check(self) -> None:
        """Import every target and check its options, so that a misspelt one is told before anything is written."""
        self.objective.check(given=("encoder", "augment"))
        for component in (self.model, self.augment, self.data.pretrain, self.data.probe, self.data.test):
            if component is not None:
                component.check()
        for probe in self.evaluate.probes:
            probe_component(probe, self.objective.allow).check()
        for phase in self.phases:
            phase.recipe.check()
