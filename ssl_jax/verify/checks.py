"""The checks of `ssl-jax verify`, one function each. To add one: write it, and put it into `CHECKS`.

Differences between programs that compute the same thing in another order are held to `LIMIT` in float32: that of the loss
relative to the loss, that of the gradient relative to its global norm (some of its parts are zero in exact arithmetic). An
objective may amplify rounding beyond that (the distance of nearly equal embeddings): then float64 decides, with `EXACT_LIMIT`.
A gradient jumps where rounding moves one activation across the kink of a ReLU, which a loss does not: 1.1e-3 of the norm was
seen for one unit of a projector, hence the wider bound on what may be rounding. What is the same program is held to equal bits.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ssl_jax.checkpoint.store import Checkpoints
from ssl_jax.devices.mesh import path_name
from ssl_jax.errors import UserError
from ssl_jax.verify.subject import Subject

Gradient = Callable[[Subject], tuple[float, Any]]
LIMIT, EXACT_LIMIT = 1e-5, 1e-9
ROUNDING = {"loss": 1e-3, "gradient": 1e-2}  # a larger difference in float32 is no rounding
PASS, FAIL, REFUSED, NOT_APPLICABLE = "pass", "FAIL", "refused", "does not apply"


@dataclass(frozen=True)
class Outcome:
    """What a check found: named differences, each with its limit, and why it did not run where it did not."""

    status: str
    measured: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Check:
    """A claim about a recipe, and the function that measures it."""

    name: str
    claim: str
    run: Callable[[Subject], Outcome]


def outcome(measured: Mapping[str, float], limits: Mapping[str, float], note: str = "") -> Outcome:
    """Pass where every difference is within its limit; what is not a number is not."""
    within = all(measured[k] <= limits[k] for k in measured)
    return Outcome(PASS if within else FAIL, measured, limits, note)


def views(subject: Subject) -> Outcome:
    """A key that depends on the device, or on the place in the batch, shows here."""
    batch, one = subject.batch, subject.mesh()
    here = subject.views(one, batch)
    there = subject.views(subject.all_devices, batch)
    turned = subject.views(one, {k: np.roll(v, 3, axis=0) for k, v in batch.items()})
    moved = {k: np.roll(v, 3, axis=0) if v.shape[:1] == (subject.batch_size,) else v for k, v in here.items()}
    measured = {"other devices": _share(here, there), "another place in the batch": _share(moved, turned)}
    # A threshold (solarize, clipping) may fall on the other side of a rounding error; a wrong key changes nearly all.
    return outcome(measured, dict.fromkeys(measured, 1e-3), "share of entries that differ")


def devices(subject: Subject) -> Outcome:
    """Loss and gradient of the first batch on one device and on all, data parallel."""
    return same(subject, lambda s: s.gradient(s.mesh()), lambda s: s.gradient(s.all_devices))


def fsdp(subject: Subject) -> Outcome:
    """Parameters shared out over all devices against copied to each."""
    mesh = subject.mesh(fsdp=len(subject.devices))
    split = _split(subject, mesh, "fsdp")
    if not split:
        return Outcome(
            NOT_APPLICABLE, note=f"no array of the state has a dimension that {len(subject.devices)} divides"
        )
    return same(subject, lambda s: s.gradient(s.all_devices), lambda s: s.gradient(mesh), split)


def tensor(subject: Subject) -> Outcome:
    """FSDP with layers split over two devices against copied parameters."""
    count = len(subject.devices)
    if count % 2:
        return Outcome(NOT_APPLICABLE, note=f"{count} devices cannot be halved")
    mesh = subject.mesh(fsdp=count // 2, tensor=2)
    split = _split(subject, mesh, "tensor")
    if not split:
        return Outcome(NOT_APPLICABLE, note="no parameter matches a tensor rule with a dimension that 2 divides")
    return same(subject, lambda s: s.gradient(s.all_devices), lambda s: s.gradient(mesh), split)


def accumulation(subject: Subject) -> Outcome:
    """Two microbatches against the full batch; a refusal by the objective is an answer too."""
    refusal = subject.setup.objective.accumulation_refusal(subject.state.extra)
    if refusal:
        return Outcome(REFUSED, note=refusal)
    return _in_microbatches(subject, {"accumulation": 2})


def gradient_cache(subject: Subject) -> Outcome:
    """Two microbatches, embedded twice and scored together, against the full batch; a refusal is an answer too."""
    refusal = subject.setup.objective.gradient_cache_refusal(subject.state.extra)
    if refusal:
        return Outcome(REFUSED, note=refusal)
    return _in_microbatches(subject, {"gradient_cache": 2})


def resume(subject: Subject) -> Outcome:
    """Four steps against two, a checkpoint on disk, a restore, and two more; data order included."""
    straight, losses = subject.steps(subject.fresh(), 0, 4)
    half, first = subject.steps(subject.fresh(), 0, 2)
    restored = _through_disk(half, subject.like)
    resumed, second = subject.steps(restored, 2, 2)
    return _identical({"state": straight, "losses": losses}, {"state": resumed, "losses": first + second})


def reshard(subject: Subject) -> Outcome:
    """A state saved from parameters shared out over all devices, and restored onto one."""
    many, one = subject.mesh(fsdp=len(subject.devices)), subject.mesh()
    like = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), subject.state, subject.shardings(one)
    )
    restored = _through_disk(subject.placed(subject.state, many), like)
    bits = _identical(subject.state, restored)
    other = same(subject, lambda s: s.gradient(s.all_devices), lambda s: s.gradient(one, state=restored))
    return outcome({**bits.measured, **other.measured}, {**bits.limits, **other.limits}, other.note)


def determinism(subject: Subject) -> Outcome:
    """Two runs of two steps from scratch."""
    runs = [dict(zip(("state", "losses"), subject.steps(subject.fresh(), 0, 2), strict=True)) for _ in range(2)]
    return _identical(*runs)


CHECKS: tuple[Check, ...] = (
    Check("views", "views depend on the example alone, not on device or place in the batch", views),
    Check("devices", "loss and gradient are equal on one device and on all", devices),
    Check("fsdp", "loss and gradient are equal with parameters shared out and copied", fsdp),
    Check("tensor", "loss and gradient are equal with layers split and copied", tensor),
    Check("accumulation", "two microbatches give the gradient of the full batch", accumulation),
    Check("gradient cache", "two cached microbatches give the gradient of the full batch", gradient_cache),
    Check("resume", "interrupted and resumed equals uninterrupted, to the last bit", resume),
    Check("reshard", "a state saved on all devices restores onto one", reshard),
    Check("determinism", "two runs are equal to the last bit", determinism),
)


def checked(check: Check, subject: Subject) -> Outcome:
    """The outcome of a check; what it raises is a failure with the message as its note."""
    try:
        return check.run(subject)
    except UserError as error:
        return Outcome(FAIL, note=str(error))
    except Exception as error:  # whatever user code raises belongs into the table, beside the other checks
        return Outcome(FAIL, note=f"{type(error).__name__}: {str(error).strip()[:500]}")


def _in_microbatches(subject: Subject, microbatches: Mapping[str, Any]) -> Outcome:
    quiet, mesh = subject.quiet, subject.all_devices
    note = "" if quiet is subject else "without the model's noise, which each microbatch draws for itself"
    return same(quiet, lambda s: s.gradient(mesh), lambda s: s.gradient(mesh, **microbatches), note)


def same(subject: Subject, ours: Gradient, theirs: Gradient, note: str = "") -> Outcome:
    """Compare in float32; where that differs by more than the limit, float64 tells rounding from a mistake."""
    made = _compared(ours(subject), theirs(subject), note)
    if made.status != FAIL or not all(v <= ROUNDING[k] for k, v in made.measured.items()):
        return made
    exact = _compared(ours(subject.double), theirs(subject.double), note, EXACT_LIMIT)
    if exact.status == FAIL:
        return made
    measured = {f"{k} in float64": v for k, v in exact.measured.items()}
    apart = ", ".join(f"{k} {v:.1e}" for k, v in made.measured.items())
    told = f"float32 rounds too much to tell ({apart})"
    return outcome(measured, dict.fromkeys(measured, EXACT_LIMIT), f"{told}\n{note}" if note else told)


def _compared(ours: tuple[float, Any], theirs: tuple[float, Any], note: str = "", limit: float = LIMIT) -> Outcome:
    (loss, gradient), (other_loss, other) = ours, theirs
    norm = math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in jax.tree.leaves(gradient)))
    apart = {
        path_name(path): float(np.max(np.abs(np.asarray(a, np.float64) - b), initial=0.0))
        for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(gradient), jax.tree.leaves(other), strict=True)
    }
    worst = max(apart, key=lambda k: math.inf if math.isnan(apart[k]) else apart[k])
    measured = {
        "loss": abs(other_loss - loss) / max(abs(loss), 1e-30),
        "gradient": apart[worst] / norm if norm else apart[worst],
    }
    made = outcome(measured, dict.fromkeys(measured, limit), note)
    if made.status == FAIL:
        return Outcome(
            FAIL,
            measured,
            made.limits,
            f"the gradient differs most at {worst}; loss {loss:.7g} against {other_loss:.7g}",
        )
    return made


def _identical(ours: Any, theirs: Any) -> Outcome:
    """How many arrays differ in any bit, and the first of them by name."""
    differ = [
        path_name(path)
        for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(theirs), strict=True)
        if np.asarray(a).tobytes() != np.asarray(b).tobytes()
    ]
    total = len(jax.tree.leaves(ours))
    note = f"first: {differ[0]}" if differ else f"{total} arrays compared"
    return outcome({"arrays that differ": float(len(differ))}, {"arrays that differ": 0.0}, note)


def _share(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> float:
    """The largest share, over the views, of entries that differ by more than 1e-4 of the view's range."""

    def share(a: np.ndarray, b: np.ndarray) -> float:
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        return float(np.mean(~(np.abs(a - b) <= 1e-4 * max(1.0, np.ptp(a)))))

    return max((share(ours[k], theirs[k]) for k in ours), default=0.0)


def _split(subject: Subject, mesh: Any, axis: str) -> str:
    """How many arrays of the state lie split over `axis`, as a note; empty where none does."""
    specs = [s.spec for s in jax.tree.leaves(subject.shardings(mesh))]
    count = sum(any(axis in (a if isinstance(a, tuple) else (a,)) for a in spec) for spec in specs)
    return f"{count} of {len(specs)} arrays split" if count else ""


def _through_disk(state: Any, like: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder, closing(Checkpoints(Path(folder) / "checkpoints")) as saved:
        saved.save(2, state, {"made by": "ssl-jax verify"})
        saved.wait()
        return saved.restore(like)
