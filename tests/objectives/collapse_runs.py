"""Short runs that collapse, and the same runs that do not: every method as its recipe has it, and with a part left out.

`python tests/objectives/collapse_runs.py` prints the table of docs/results/collapse.md.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.sources.embedded import Embedded
from ssl_jax.evaluate.online import encoder_named, outputs
from ssl_jax.evaluate.probes.health import COLLAPSED, embedding_measures, measures, verdict
from ssl_jax.evaluate.probes.knn import classify
from ssl_jax.losses.contrastive import normalize
from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.objectives.base import Objective, Out, State
from ssl_jax.objectives.byol import BYOL
from ssl_jax.objectives.simsiam import SimSiam
from ssl_jax.objectives.swav import SwAV
from ssl_jax.recipe import load, parse
from ssl_jax.training.run import build
from ssl_jax.training.step import Setup, init_state, train_step

STEPS, EVERY, BATCH, POOL = 300, 100, 64, 30


# --- parts left out that no recipe can leave out


def agreement(a: jax.Array, b: jax.Array) -> Mean:
    return mean_of(-jnp.sum(normalize(a) * normalize(b), axis=-1))


class SimSiamWithoutStopGradient(SimSiam):
    def loss(self, params, extra, views, key, progress):
        outs, stats = self.student(params, extra, views["image"])
        return Out({"cosine": agreement(outs["predictor"], outs["projector"][:, ::-1])}, batch_stats=stats)


class SimSiamWithoutPredictor(SimSiam):
    @property
    def modules(self):
        return {name: module for name, module in super().modules.items() if name != "predictor"}

    def loss(self, params, extra, views, key, progress):
        outs, stats = self.student(params, extra, views["image"])
        z = outs["projector"]
        return Out({"cosine": agreement(z, jax.lax.stop_gradient(z[:, ::-1]))}, batch_stats=stats)


class BYOLWithoutStopGradient(BYOL):
    def loss(self, params, extra, views, key, progress):
        outs, stats = self.student(params, extra, views["image"])
        kept = {"teacher": extra["batch_stats"]["teacher"]}
        return Out({"cosine": agreement(outs["predictor"], outs["projector"][:, ::-1])}, batch_stats=stats | kept)


class BYOLWithoutPredictor(BYOL):
    def loss(self, params, extra, views, key, progress):
        online, stats = self.student(params, extra, views["image"])
        target, taught = self.teacher(extra, views["image"])
        loss = agreement(online["projector"], target["projector"][:, ::-1])
        return Out({"cosine": loss}, batch_stats=stats | taught)


class SwAVWithoutSinkhorn(SwAV):
    def swapped(self, scores, waiting, assigned, use):
        targets = jax.nn.softmax(jax.lax.stop_gradient(scores[:, :assigned]) / self.sinkhorn_temperature)
        log_p = jax.nn.log_softmax(scores / self.temperature)
        terms = [
            mean_of(-jnp.sum(targets[:, i, None] * jnp.delete(log_p, i, axis=1), -1)).value for i in range(assigned)
        ]
        return Mean(sum(terms) / assigned, jnp.ones(()))


# --- runs

CONV = ("widths=(16,32)", "strides=(4,2)", "kernels=(5,3)")
TOKENS = ("width=32", "depth=1", "heads=2", "mlp_dim=64", "patch=7")
LOCAL = ("augment.views.local.size=14", "augment.views.local.count=2")
HEADS = ("objective.prototypes=256", "objective.hidden=64")


class Case(NamedTuple):
    """A recipe, what is left out (in words), how (overrides, or a class in the place of the objective's), and more."""

    recipe: str
    without: str = ""
    broken: tuple[str, ...] = ()
    kind: type | None = None

    @property
    def proper(self) -> Case:
        """The same recipe with nothing left out: one for all of its parts."""
        return self._replace(without="", broken=(), kind=None)

    def overrides(self, whole: bool) -> list[str]:
        conv = "conv" in self.recipe
        model = [f"model.{text}" for text in (CONV if conv else TOKENS)] + ([] if conv else [*LOCAL, *HEADS])
        return [f"--config.{text}" for text in (*model, *(() if whole else self.broken))]


CASES = (
    Case("simsiam_conv_fashion", "stopped gradient", kind=SimSiamWithoutStopGradient),
    Case("simsiam_conv_fashion", "predictor", kind=SimSiamWithoutPredictor),
    Case("byol_conv_fashion", "stopped gradient", kind=BYOLWithoutStopGradient),
    Case("byol_conv_fashion", "predictor", kind=BYOLWithoutPredictor),
    Case("vicreg_conv_fashion", "variance", ("objective.variance=0.0",)),
    Case("barlow_twins_conv_fashion", "off-diagonal term", ("objective.off_diagonal=0.0",)),
    Case("lejepa_conv_fashion", "SIGReg", ("objective.weight=0.0",)),
    Case("swav_conv_fashion", "Sinkhorn", kind=SwAVWithoutSinkhorn),
    Case("dino_vit_fashion", "centring", ("objective.balancing=none",)),
    Case("ibot_vit_fashion", "centring", ("objective.balancing=none",)),
    Case("dinov2_vit_fashion", "balancing, KoLeo", ("objective.balancing=none", "objective.koleo_weight=0.0")),
    Case(
        "msn_vit_fashion", "mean entropy, Sinkhorn", ("objective.entropy_weight=0.0", "objective.sinkhorn_iterations=0")
    ),
)


@dataclass(frozen=True)
class Drawn(ImageViews):
    """Views that were drawn before, so that no program holds the augmentation."""

    def __call__(self, keys, batch):
        return {name: view for name, view in batch.items() if not name.startswith("_")}


@functools.cache
def pool(augment: ImageViews) -> tuple[dict[str, np.ndarray], ...]:
    """Batches of views; runs go round them."""
    draw, source = jax.jit(lambda key, images: augment(jax.random.split(key, BATCH), {"image": images})), Embedded()
    images = [source.batch(np.arange(BATCH) + i * BATCH)["image"] for i in range(POOL)]
    return tuple(jax.device_get(draw(jax.random.key(i), x)) for i, x in enumerate(images))


class Run(NamedTuple):
    """Verdict and measures at each check, and the seconds of CPU."""

    verdicts: tuple[str, ...]
    history: tuple[dict[str, float], ...]
    seconds: float

    @property
    def collapsed_at(self) -> int | None:
        return next((h["step"] for h, word in zip(self.history, self.verdicts, strict=True) if word == COLLAPSED), None)


@functools.cache
def run(case: Case, whole: bool, every: int = EVERY, neighbours: bool = False) -> Run:
    """300 steps of the recipe with a small encoder, as it is or without its part; with `neighbours`, checks have `knn` too."""
    if whole and case != case.proper:
        return run(case.proper, whole, every, neighbours)
    started = time.process_time()
    config = load(case.recipe, case.overrides(whole))
    config.batch_size, config.total_examples = BATCH, BATCH * STEPS
    recipe = parse(config)
    setup = build(recipe, len(Embedded()))
    batches = pool(setup.objective.augment)
    setup = replace(setup, objective=changed(setup.objective, case.kind if not whole else None))
    first = as_batch(batches[0], 0)
    state = jax.jit(partial(init_state, setup))(first)
    step = jax.jit(partial(train_step, setup), donate_argnums=0)
    measure = measurement(setup, recipe.evaluate.encoder)
    nearest = knn_accuracy(setup, recipe.evaluate.encoder) if neighbours else lambda state: {}
    history, verdicts = [], []
    for i in range(STEPS + 1):
        if i % every == 0:
            history.append(measure(state) | nearest(state))
            verdicts.append(verdict(history))
        state, _ = step(state, as_batch(batches[i % POOL], i))
    return Run(tuple(verdicts), tuple(history), time.process_time() - started)


def changed(objective: Objective, kind: type | None) -> Objective:
    """The objective on drawn views, perhaps of another class."""
    drawn = Drawn(**{f.name: getattr(objective.augment, f.name) for f in fields(ImageViews)})
    options = {f.name: getattr(objective, f.name) for f in fields(objective)}
    return (kind or type(objective))(**options | {"augment": drawn})


def as_batch(views: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    return views | {"_id": np.arange(BATCH, dtype=np.int32), "_epoch": np.full(BATCH, step, np.int32)}


def measurement(setup: Setup, name: str) -> Callable[[Any], dict[str, float]]:
    """What the online check measures, of 256 records."""
    source = Embedded("probe", limit=256)
    batch = {"image": source.batch(np.arange(len(source)))["image"]}
    encoders = {name: encoder_named(setup.objective, name)}
    seen = jax.jit(lambda params, extra: outputs(setup.objective, encoders, State(params, extra), batch))

    def measure(state: Any) -> dict[str, float]:
        found = jax.device_get(seen(state.params, state.extra))
        features = found.pop(f"features/{name}")
        (z,) = (z for key, z in found.items() if key.startswith("embeddings/"))
        return measures(features) | embedding_measures(z) | {"step": int(state.step)}

    return measure


def knn_accuracy(setup: Setup, name: str) -> Callable[[Any], dict[str, float]]:
    """Of features of 2,000 test records, by 20 neighbours among 2,000 of the probe split."""
    encoder = encoder_named(setup.objective, name)
    bank, test = Embedded("probe", limit=2000), Embedded("test", limit=2000)
    encode = jax.jit(lambda state, images: encoder.features(encoder.variables(state), {"image": images}))

    def measure(state: Any) -> dict[str, float]:
        read = State(state.params, state.extra)
        x, z = (np.asarray(encode(read, source.columns["image"])) for source in (bank, test))
        return {"knn": float((classify(x, bank.columns["label"], z, 10) == test.columns["label"]).mean())}

    return measure


def table(cases: tuple[Case, ...] = CASES) -> str:
    """Markdown: a row for each method as it is and for each part left out."""
    rows = [
        "| recipe | without | collapsed at step | embedding std | spread left | embedding rank | features' centred rank |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in dict.fromkeys(part for given in cases for part in (given.proper, given)):
        whole = not case.without
        found = run(case, whole)
        first, last = found.history[0], found.history[-1]
        spread, rank, features = (
            f"{first[key]:.3g} to {last[key]:.3g}" for key in ("embedding_std", "embedding_rank", "centred_rank")
        )
        left = f"{last['embedding_std'] / first['embedding_std']:.2f}"
        step = "-" if found.collapsed_at is None else str(found.collapsed_at)
        rows.append(f"| {case.recipe} | {case.without or '-'} | {step} | {spread} | {left} | {rank} | {features} |")
        print(rows[-1], f"<!-- {found.seconds:.0f} s of CPU, {found.verdicts} -->", flush=True)
    return "\n".join(rows)


if __name__ == "__main__":
    table()
