"""Two phases that cost nothing: squares of two sizes, tiles with learned positions, a teacher, and what only one has."""

# ruff: noqa: C408  (dict(...) reads like the keys that --config overrides)
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from ssl_jax.losses.mean import Mean
from ssl_jax.objectives.base import Objective, Out, State

WIDTH = 8


class Tiles(nn.Module):
    """Tiles of 4 x 4 pixels, embedded, each with its place, and averaged."""

    side: int = 4

    @nn.compact
    def __call__(self, image, train: bool = False):
        b, h, w, c = image.shape
        tiles = image.reshape(b, h // self.side, self.side, w // self.side, self.side, c).swapaxes(2, 3)
        x = nn.Dense(WIDTH, name="embed")(tiles.reshape(b, -1, self.side**2 * c))
        return jnp.tanh(x + self.param("positions", nn.initializers.normal(1.0), x.shape[1:])).mean(1)

    def features(self, image, train: bool = False):
        return self(image)


@dataclass(frozen=True)
class Squares:
    """Pixels in [0, 1], of `size`."""

    size: int = 8
    inputs = ("image",)

    def __call__(self, keys, batch):
        return {"image": self.evaluation(batch)["image"][:, None]}

    def evaluation(self, batch, policy=""):
        image = batch["image"].astype(jnp.float32) / 255
        return {"image": jax.image.resize(image, (len(image), self.size, self.size, image.shape[-1]), "linear")}

    def plain(self, batch):
        return self.evaluation(batch)["image"].reshape(len(batch["image"]), -1)

    def panel(self, views):
        return {}


@dataclass(frozen=True)
class Agree(Objective):
    """Features of a noisy copy should be the teacher's; with `anchor`, also those of a copy of it from before."""

    anchor: bool = False

    def init(self, key, views):
        encoder = self.encoder.init(key, views["image"])["params"]
        return State({"encoder": encoder}, {"teacher": encoder} | ({"anchor": encoder} if self.anchor else {}))

    def started_from(self, params, extra, anew):
        return State(params, extra | ({"anchor": extra["teacher"]} if "anchor" in anew else {}))

    def views(self, keys, batch, progress):
        image = self.augment.evaluation(batch)["image"]
        noise = jax.vmap(lambda k: jax.random.normal(k, image.shape[1:]))(keys.example)
        return {"image": image + 0.1 * noise, "clean": image}

    def loss(self, params, extra, views, key, progress):
        apply = lambda p, x: self.encoder.apply({"params": p}, x)  # noqa: E731
        x, weight = apply(params["encoder"], views["image"]), 1 + progress.step / progress.total
        to = [extra[name] for name in ("teacher", "anchor") if name in extra]
        each = sum(jnp.square(x - jax.lax.stop_gradient(apply(t, views["clean"]))).sum(1) for t in to)
        return Out({"agree": Mean(weight * each.sum(), jnp.asarray(float(len(x))))})

    def preview(self, views):
        return {}

    def update(self, params, extra, out, progress):
        mix = lambda t, p: 0.9 * t + 0.1 * p  # noqa: E731
        return State(params, extra | {"teacher": jax.tree.map(mix, extra["teacher"], params["encoder"])})


def get_config(arg: str = "") -> ConfigDict:
    """`plain`: without phases."""
    large = dict(name="large", schedules="phase", augment=dict(size=16), objective=dict(anchor=True))
    return ConfigDict(
        dict(
            seed=0,
            batch_size=8,
            total_steps=8,
            objective=dict(target="toy_phases:Agree", anchor=False),
            model=dict(target="toy_phases:Tiles"),
            data=dict(pretrain=dict(target="ssl_jax.data.sources:Embedded", split="pretrain", limit=64)),
            augment=dict(target="toy_phases:Squares", size=8),
            optimizer=dict(name="adamw", lr=1e-2),
            schedule=dict(name="cosine", warmup_steps=1),
            checkpoint=dict(every_steps=2, keep=9),
            evaluate=dict(encoder="student", every_percent=50, health_examples=32),
            log=dict(every_steps=1, tensorboard=False),
            phases=() if arg == "plain" else (dict(name="small", steps=4), large),
        )
    )
