"""An objective without heads or teacher on a small ViT: two noisy copies of a picture should have the same features."""

# ruff: noqa: C408  (dict(...) reads like the keys that --config overrides)
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from ssl_jax.losses.mean import Mean
from ssl_jax.objectives.base import Encoder, Objective, Out, State


@dataclass(frozen=True)
class Twins(Objective):
    """Squared distance of the features of two copies, and of their norm from one."""

    def init(self, key, views):
        return State({"encoder": self.encoder.init(key, views["image"][:, 0])["params"]}, {})

    def views(self, keys, batch, progress):
        image = self.augment.evaluation(batch)["image"]
        noise = jax.vmap(lambda k: jax.random.normal(k, (2, *image.shape[1:])))(keys.example)
        return {"image": image[:, None] + 0.1 * noise}

    def loss(self, params, extra, views, key, progress):
        a, b = (self.encoder.apply({"params": params["encoder"]}, x).mean(1) for x in views["image"].swapaxes(0, 1))
        each = jnp.square(a - b).mean(1) + jnp.square(jnp.square(a).mean(1) - 0.5)
        return Out({"agree": Mean(each.sum(), jnp.asarray(float(len(a))))})

    def update(self, params, extra, out, progress):
        return State(params, extra)

    def encoders(self):
        return {"student": Encoder(self.encoder, ("params", "encoder"), ("image",), self.augment.evaluation)}


def get_config(arg: str = "") -> ConfigDict:
    sizes = dict(width=16, depth=1, heads=2, mlp_dim=32, patch=14, grid=(2, 2), remat="none")
    return ConfigDict(
        dict(
            seed=0,
            batch_size=8,
            total_steps=2,
            objective=dict(target="toy_export:Twins"),
            model=dict(target="ssl_jax.models.vit:ViT", positions="learned", pool="mean", cells=2, **sizes),
            data=dict(pretrain=dict(target="ssl_jax.data.sources:Embedded", split="pretrain", limit=64)),
            augment=dict(
                target="ssl_jax.data.image.views:ImageViews",
                size=28,
                mean=(0.3,),
                std=(0.4,),
                views=dict(image=dict(count=2)),
            ),
            optimizer=dict(name="adamw", lr=1e-2),
            evaluate=dict(encoder="student", health_examples=50),
            log=dict(every_steps=1, tensorboard=False),
        )
    )
