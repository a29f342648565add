"""CLIP: a picture and its caption attract, all other pairs of the global batch repel (Radford et al. 2021, arXiv 2103.00020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from ssl_jax.data.augment import Batch, Views, given
from ssl_jax.losses.contrastive import normalize
from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.losses.streamed.contrastive import two_way_info_nce
from ssl_jax.models.heads import ProjectionHead
from ssl_jax.objectives.base import Encoder, Keys, Out, Pairwise, Progress, State

TOWERS = ("image", "text")


@dataclass(frozen=True)
class CLIP(Pairwise):
    """Two towers and a linear head on each; the scale of the similarities is learned, and at most `most`."""

    out: int = 16
    scale: float = 1 / 0.07
    most: float = 100.0

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The towers `image` and `text`, and a head for each."""
        heads = {
            f"{name}_head": ProjectionHead((), self.out, "none", dtype=self.encoder[name].dtype) for name in TOWERS
        }
        return {**self.encoder, **heads}

    def init(self, key: Array, views: Views) -> State:
        """Parameters of the modules, and the logarithm of the scale."""
        params: dict = {"logit": {"scale": jnp.log(jnp.float32(self.scale))}}
        for name in TOWERS:
            seen = self._seen(name, views)
            params[name] = self.encoder[name].init(key, *seen, method="features")["params"]
            h = self.encoder[name].apply({"params": params[name]}, *seen, method="features")
            params[f"{name}_head"] = self.modules[f"{name}_head"].init(key, h)["params"]
        return State(params, {})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The views of both."""
        return self.augment(keys.example, batch)

    def embed(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[dict[str, Array], tuple]:
        """Embeddings [B, out] by tower."""
        return {name: self._embedding(params, name, self._seen(name, views)) for name in TOWERS}, ()

    def score(self, params: dict, extra: dict, embeddings: dict[str, Array], progress: Progress) -> Out:
        """InfoNCE in both directions."""
        scale = jnp.exp(params["logit"]["scale"])
        return Out(
            {"info_nce": two_way_info_nce(embeddings["image"], embeddings["text"], 1 / scale)},
            {"scale": mean_of(scale)},
        )

    def update(self, params: dict, extra: dict, out: Out, progress: Progress) -> State:
        """The scale stays below `most`."""
        scale = jnp.minimum(params["logit"]["scale"], np.log(self.most))
        return super().update(params | {"logit": {"scale": scale}}, extra, out, progress)

    def encoders(self) -> dict[str, Encoder]:
        """Both towers."""
        parts = dict(zip(TOWERS, self.augment.parts, strict=True))
        return {n: Encoder(self.encoder[n], ("params", n), part.inputs, part.evaluation) for n, part in parts.items()}

    def embeddings(self, params: dict, extra: dict, batch: Batch) -> dict[str, Array]:
        """What the loss compares, by tower."""
        inputs = {name: part.evaluation(batch) for name, part in zip(TOWERS, self.augment.parts, strict=True)}
        given_ = {
            n: tuple(inputs[n][k] for k in part.inputs) for n, part in zip(TOWERS, self.augment.parts, strict=True)
        }
        return {name: normalize(self._embedding(params, name, given_[name])) for name in TOWERS}

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """How often the caption of a picture is the nearest of its batch."""
        z, _ = self.embed(params, extra, views, key)
        similarity = normalize(z["image"]) @ normalize(z["text"]).T
        return {"recall": mean_of((similarity.argmax(1) == jnp.arange(len(similarity))).astype(jnp.float32))}

    def _seen(self, name: str, views: Views) -> tuple[Array, ...]:
        part = dict(zip(TOWERS, self.augment.parts, strict=True))[name]
        seen = given(views, part.inputs)
        return tuple(x[:, 0] for x in (seen if isinstance(seen, tuple) else (seen,)))

    def _embedding(self, params: dict, name: str, seen: tuple[Array, ...]) -> Array:
        h = self.encoder[name].apply({"params": params[name]}, *seen, train=True, method="features")
        return self.modules[f"{name}_head"].apply({"params": params[f"{name}_head"]}, h)
