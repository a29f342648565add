"""The JAX side of the comparison, for `worker.py`: the step that training runs, on views that are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.benchmark.peers.names import mae_parameters
from ssl_jax.data.image.views import ImageViews
from ssl_jax.devices.allocator import keep_freed_memory
from ssl_jax.devices.mesh import batch_sharding, make_mesh, place_batch
from ssl_jax.models.grid import sincos
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.base import Batch, Keys, Progress, Views
from ssl_jax.objectives.mae import MAE
from ssl_jax.optim.optimizers import adamw
from ssl_jax.training.run import compiled, state_like
from ssl_jax.training.step import Setup, init_state


@dataclass(frozen=True)
class GivenViews(MAE):
    """MAE whose batch is its views: the peer gets the same pixels and the same masks."""

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """`image` [B, 1, h, w, C] and `noise` [B, N], as they are."""
        return batch


def inputs(spec: dict) -> dict[str, Any]:
    """`image` [B, h, w, 3], `noise` [B, N] and the position tables of encoder and decoder."""
    rng, side = np.random.default_rng(0), spec["image"] // spec["patch"]
    return {
        "image": rng.standard_normal((spec["batch"], spec["image"], spec["image"], 3), np.float32),
        "noise": rng.random((spec["batch"], side**2), np.float32),
        "positions": np.asarray(sincos(spec["width"], (side, side)), np.float32),
        "decoder_positions": np.asarray(sincos(spec["decoder_width"], (side, side)), np.float32),
    }


def setup(spec: dict) -> Setup:
    """The recipe of both sides: MAE, AdamW at a constant rate, decay of matrices only."""
    sizes = {k: spec[k] for k in ("width", "depth", "heads", "patch", "dtype")}
    encoder = ViT(**sizes, mlp_dim=4 * spec["width"], **spec["options"])
    decoder = {k: spec[k] for k in ("decoder_width", "decoder_depth", "decoder_heads")}
    optimizer = adamw(lambda _: spec["lr"], lambda _: spec["weight_decay"], b1=0.9, b2=0.95)
    augment = ImageViews(spec["image"], (0.0,), (1.0,), {"image": {}})
    return Setup(GivenViews(encoder, augment, **decoder), optimizer, seed=0, total_steps=1_000_000)


def build(spec: dict) -> Callable[[], float]:
    """One step on fixed arrays; with `spec["write"]` they, and the first parameters, are written for the others.

    Memory is kept as `ssl-jax train` keeps it. PyTorch's allocator reuses its own.
    """
    keep_freed_memory()
    posed, mesh, arrays = setup(spec), make_mesh(1, devices=jax.devices()[:1]), inputs(spec)
    none = np.zeros(spec["batch"], np.int32)
    batch = {"image": arrays["image"][:, None], "noise": arrays["noise"], "_id": none, "_epoch": none}
    with jax.set_mesh(mesh):
        rows = place_batch(batch, batch_sharding(mesh))
        like = state_like(posed, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch), mesh)
        state = jax.jit(partial(init_state, posed))(rows)
        if spec["write"]:
            folder, params = Path(spec["folder"]), jax.tree.map(np.asarray, state.params)
            named: dict[str, Any] = mae_parameters(params, spec["patch"])
            np.savez(folder / "parameters.npz", **named)
            np.savez(folder / "inputs.npz", **arrays)
        run = compiled(posed, 1, like)

        def step() -> float:
            nonlocal state
            with jax.set_mesh(mesh):
                state, metrics = run(state, rows)
            return float(jnp.asarray(metrics["loss"]))

        return step
