"""An objective, a source and an encoder that compile in a moment and break on demand."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from ssl_jax.devices.mesh import shard_batch
from ssl_jax.losses.mean import Mean
from ssl_jax.objectives.base import Objective, Out, State, step_key

SIDE = 4


class Numbers:
    """`count` records: an image uint8 [4, 4, 1] and its label, both functions of the record number.

    With `log`, every read is a line "<process> <record>" in that file. `stall` = (process, read) sleeps there for ever,
    `delay` seconds pass at each read, and the records `bad` cannot be read. `hold` = (read, file) waits from that read on
    until there is such a file, which ties what a test does to a step whatever the speed of the machine. `labels` are one of four
    ("all"), -1 ("minus"), all different ("single") or not there ("none"); with `floats`,
    pixels are 0.0 and 255.0; where those are record numbers, other records have 0.0 and 1.0.
    """

    def __init__(
        self, count: int = 64, log: str = "", stall: tuple[int, ...] = (), delay: float = 0.0, salt: str = "",
        bad: tuple[int, ...] = (), hold: tuple[int, str] | tuple[()] = (), labels: str = "all",
        floats: bool | tuple[int, ...] = False,
    ) -> None:  # fmt: skip
        self.count, self.log, self.stall, self.delay, self.salt, self.reads = count, log, tuple(stall), delay, salt, 0
        self.bad, self.hold, self.labels = tuple(bad), tuple(hold), labels
        self.floats = floats

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        self.reads += 1
        process = jax.process_index()
        if self.stall and (process, self.reads) == self.stall:
            time.sleep(600)
        while self.hold and self.reads >= self.hold[0] and not os.path.exists(self.hold[1]):
            time.sleep(0.005)
        time.sleep(self.delay)
        if i in self.bad:
            raise ValueError("truncated")
        if self.log:
            file = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, f"{process} {i}\n".encode())
            os.close(file)
        image = np.random.default_rng(i).integers(0, 256, (SIDE, SIDE, 1), dtype=np.uint8)
        if self.floats:
            white = 255 if self.floats is True or i in self.floats else 1
            image = np.where(image > 128, white, 0).astype(np.float32)
        label = {"all": i % 4, "minus": -1, "single": i}.get(self.labels)
        return {"image": image} | ({} if label is None else {"label": np.int32(label)})

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.count} {self.salt}".encode()).hexdigest()


class Flat(nn.Module):
    """One dense layer on pixels."""

    width: int = 8

    @nn.compact
    def __call__(self, image, train: bool = False):
        return nn.Dense(self.width)(shard_batch(image.reshape(image.shape[0], -1)))

    def features(self, image, train: bool = False):
        return self(image)


@dataclass(frozen=True)
class Plain:
    """Pixels in [0, 1]."""

    inputs = ("image",)

    def __call__(self, keys, batch):
        return {"image": self.evaluation(batch)["image"][:, None]}

    def evaluation(self, batch, policy=""):
        return {"image": batch["image"].astype(jnp.float32) / 255}

    def plain(self, batch):
        return self.evaluation(batch)["image"].reshape(len(batch["image"]), -1)

    def panel(self, views):
        return {}


@dataclass(frozen=True)
class Faulty(Objective):
    """Two noisy copies of an image should have features that agree, and not vanish; the teacher is an average.

    `nan_at`, `inf_at` and `spike_at` are steps (counted from 0) whose gradient, loss or both are spoilt.
    """

    nan_at: tuple[int, ...] = ()
    inf_at: tuple[int, ...] = ()
    spike_at: tuple[int, ...] = ()

    def init(self, key, views):
        params = {"encoder": self.encoder.init(key, views["a"])["params"]}
        return State(params, {"teacher": params["encoder"]})

    def views(self, keys, batch, progress):
        image = self.augment.evaluation(batch)["image"]
        noise = jax.vmap(lambda k: jax.random.normal(k, (2, SIDE, SIDE, 1)))(keys.example) * 0.1
        return {"a": image + noise[:, 0], "b": image + noise[:, 1], "step": jax.random.key_data(keys.step)}

    def loss(self, params, extra, views, key, progress):
        apply = lambda p, x: self.encoder.apply({"params": p}, x)  # noqa: E731
        a, b = apply(params["encoder"], views["a"]), apply(extra["teacher"], views["b"])
        each = jnp.square(a - jax.lax.stop_gradient(b)).mean(1) + jnp.square(jnp.square(a).mean(1) - 1)
        total = each.sum()
        at = lambda steps: jnp.any(jnp.stack([self._is(views["step"], s) for s in (*steps, -1)]))  # noqa: E731
        total = total * jnp.where(at(self.spike_at), 1e6, 1.0)
        total = total * jnp.where(at(self.inf_at), jnp.inf, 1.0)
        # A square root at zero: the value is finite, its gradient is not.
        x = jnp.where(at(self.nan_at), 0.0, 1.0)
        zero = jnp.sqrt(jnp.square(a).sum() * 0.0 + x) - jnp.sqrt(x)
        return Out({"agree": Mean(total + zero, jnp.asarray(float(a.shape[0])))})

    def preview(self, views):
        return {}

    @staticmethod
    def _is(found, step):
        wanted = jax.random.key_data(jax.random.fold_in(step_key(0, jnp.asarray(step, jnp.int32)), 0))
        return jnp.all(found == wanted)

    def update(self, params, extra, out, progress):
        mix = lambda t, p: 0.9 * t + 0.1 * p  # noqa: E731
        return State(params, {"teacher": jax.tree.map(mix, extra["teacher"], params["encoder"])})


def reads(log: Path) -> list[tuple[int, int]]:
    """(process, record) of every read that a `Numbers` logged."""
    return [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
