"""Eight steps of joint-embedding methods are PyTorch's and lightly's, in float64: `tools/build_step_goldens` made the file."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from ssl_jax.models.resnet import ResNet
from ssl_jax.objectives.barlow_twins import BarlowTwins
from ssl_jax.objectives.byol import BYOL
from ssl_jax.objectives.moco import MoCo
from ssl_jax.objectives.moco_v3 import MoCoV3
from ssl_jax.objectives.simclr import SimCLR
from ssl_jax.objectives.simsiam import SimSiam
from ssl_jax.objectives.swav import SwAV
from ssl_jax.objectives.vicreg import VICReg
from ssl_jax.optim import optimizers
from ssl_jax.optim.schedules import ahead, warmup_cosine
from ssl_jax.training import spikes
from ssl_jax.training.step import Setup, TrainState, train_steps

STEPS, WARMUP = 8, 2
FILE = Path(__file__).parent / "data" / "goldens" / "steps.npz"


@dataclass(frozen=True)
class Given:
    """The views are what the batch holds."""

    inputs = ("image",)

    def __call__(self, keys, batch):
        return batch


ENCODER = ResNet(18, "small", 4, dtype="float64", blocks=(1,), last_norm=1.0)
UNTIL = {"momentum": (0.9, 1.0), "momentum_until": "last"}
METHODS = {
    "simclr": SimCLR(ENCODER, Given(), 0.5, (16,), 8),
    "moco": MoCo(ENCODER, Given(), 0.2, (16,), 8, queue=32, momentum=0.9, bn="separate"),
    "moco_v3": MoCoV3(ENCODER, Given(), 0.2, (16, 16), (16,), out=8, **UNTIL),
    "byol": BYOL(ENCODER, Given(), 16, 8, **UNTIL),
    "simsiam": SimSiam(ENCODER, Given(), (16, 16), 8, 4),
    "barlow_twins": BarlowTwins(ENCODER, Given(), hidden=(16,), out=8),
    "vicreg": VICReg(ENCODER, Given(), hidden=(16,), out=8),
    "swav": SwAV(ENCODER, Given(), prototypes=6, hidden=(16,), out=8, overwrite_prototypes=True),
}
ADAM = ("moco_v3", "barlow_twins")  # the others have biases without gradient, whose rounding Adam would blow up
FAST = ("simclr", "moco", "byol", "swav")


def ours(name, value):
    """The path among our parameters or statistics of one of torch's, and the value in our layout."""
    *places, module, leaf = name.split(".")
    normal = module.startswith("norm")
    if leaf.startswith("running"):
        return ("batch_stats", *places, module, "bn", leaf.removeprefix("running_")), value
    kernel = {2: (1, 0), 4: (2, 3, 1, 0)}.get(value.ndim, (0,))
    leaf = {"weight": "scale" if normal else "kernel"}.get(leaf, leaf)
    return ("params", *places, module, *(("bn",) if normal else ()), leaf), value.transpose(kernel)


def trees(arrays, prefix):
    """`params` and `batch_stats` of the arrays whose names start so."""
    found = (ours(name.removeprefix(prefix), value) for name, value in arrays.items() if name.startswith(prefix))
    flat = {path: jnp.asarray(value) for path, value in found}
    return {"params": {}, "batch_stats": {}} | unflatten_dict(flat)


def started(name, arrays):
    """The state before the first step, and the trees that are there after the last."""
    shared = {f"student/encoder.{k.removeprefix('encoder/')}": v for k, v in arrays.items() if k.startswith("encoder/")}
    heads = {k.removeprefix(f"{name}/start/"): v for k, v in arrays.items() if k.startswith(f"{name}/start/")}
    start = trees(shared | {f"student/{k}": v for k, v in heads.items()}, "student/")
    end = {which: trees(arrays, f"{name}/{which}/") for which in ("student", "teacher")}
    taught = end["teacher"]["params"]
    extra = {"batch_stats": start["batch_stats"]}
    if taught:
        of = {kind: {k: v for k, v in start[kind].items() if k in taught} for kind in start}
        extra |= {"teacher": of["params"], "batch_stats": start["batch_stats"] | {"teacher": of["batch_stats"]}}
    if name == "moco":
        rows = jnp.asarray(arrays["moco/queue"])
        extra |= {"queue": {"rows": rows, "next": jnp.zeros((), jnp.int32), "filled": jnp.asarray(32, jnp.int32)}}
    return start["params"], extra, end


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in METHODS])
def test_eight_steps(name):
    with np.load(FILE, allow_pickle=False) as file, jax.enable_x64(True):
        arrays = {k: file[k] for k in file.files}
        peak = 0.01
        rates = ahead(1, WARMUP, warmup_cosine(peak, STEPS - 1, WARMUP, final=0.001 * peak))(jnp.arange(float(STEPS)))
        options = {"b1": 0.9, "b2": 0.95, "eps": 1e-8} if name in ADAM else {"momentum": 0.9}
        make = optimizers.adamw if name in ADAM else optimizers.sgd
        optimizer = make(lambda step: rates[step], lambda step: 0.1, **options)
        params, extra, end = started(name, arrays)
        zero = jnp.zeros((), jnp.int64)  # of which schedules are float64
        state = TrainState(zero, zero, zero, params, extra, optimizer.init(params), spikes.empty())
        pixels = {"image": arrays["views"]} | ({"local": arrays["small"]} if name == "swav" else {})
        batches = {k: jnp.asarray(np.moveaxis(x, 3, -1) / 255) for k, x in pixels.items()}
        batches |= dict.fromkeys(("_id", "_epoch"), jnp.zeros((STEPS, 8), jnp.int32))
        setup = Setup(METHODS[name], optimizer, 0, STEPS)
        state, metrics = jax.jit(partial(train_steps, setup))(state, batches)
        np.testing.assert_allclose(metrics["loss"], arrays[f"{name}/loss"], rtol=1e-9)
        stats = state.extra["batch_stats"]
        same(
            end["student"], {"params": state.params, "batch_stats": {k: v for k, v in stats.items() if k != "teacher"}}
        )
        if end["teacher"]["params"]:
            same(end["teacher"], {"params": state.extra["teacher"], "batch_stats": stats["teacher"]})


def same(expected, found):
    """The same arrays; running statistics that we do not keep are nowhere read."""
    theirs, mine = flatten_dict(expected), flatten_dict(found)
    assert {k for k in theirs if k[0] == "params"} == {k for k in mine if k[0] == "params"}
    for path, value in mine.items():
        np.testing.assert_allclose(value, theirs[path], rtol=1e-8, atol=1e-10, err_msg="/".join(path))
