"""Modalities in miniature, for tests: token sequences and waves, each with an augmentation, an encoder, and records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from ssl_jax.data.augment import Batch, Views
from ssl_jax.data.panels import Panel, Signals, Texts
from ssl_jax.devices.precision import wide
from ssl_jax.models.norm import Norm

WORDS, LENGTH, SAMPLES = 20, 12, 32


@dataclass(frozen=True)
class TokenViews:
    """Views of `tokens` [B, L] with their `valid` [B, L]: words hidden (id 0) at random; `short` ones see a first part."""

    count: int = 2
    hidden: float = 0.3
    short: int = 0

    inputs = ("tokens", "valid")

    def __call__(self, keys: Array, batch: Batch) -> Views:
        """`tokens` and `valid` [B, V, L]; with `short`, `local/tokens` and `local/valid` [B, 2, short] as well."""
        tokens, valid = (jnp.repeat(batch[name][:, None], self.count, axis=1) for name in self.inputs)
        seen = jax.vmap(lambda key: jax.random.uniform(key, tokens.shape[1:]) > self.hidden)(keys)
        views = {"tokens": jnp.where(seen, tokens, 0), "valid": valid}
        local = {f"local/{name}": view[:, :, : self.short] for name, view in views.items()}
        return views | (local if self.short else {})

    def evaluation(self, batch: Batch, policy: str = "") -> Batch:
        """The records as they are."""
        return {name: batch[name] for name in self.inputs}

    def plain(self, batch: Batch) -> Array:
        """A bag of words [B, WORDS]."""
        return (jax.nn.one_hot(batch["tokens"], WORDS) * batch["valid"][..., None]).sum(1)

    def panel(self, views: Views) -> dict[str, Panel]:
        """Ids, those of padding marked."""
        rows = [
            [[(str(t), "" if v else "padding") for t, v in zip(*view, strict=True)] for view in zip(*row, strict=True)]
            for row in zip(*(np.asarray(views[name]).tolist() for name in self.inputs), strict=True)
        ]
        return {"views": Texts(rows)}


@dataclass(frozen=True)
class WaveViews:
    """Views of `wave` [B, T]: turned round in time and made louder or softer at random."""

    count: int = 2

    inputs = ("wave",)

    def __call__(self, keys: Array, batch: Batch) -> Views:
        """`wave` [B, V, T]."""

        def view(key: Array, wave: Array) -> Array:
            shift = jax.random.randint(key, (), 0, SAMPLES)
            return jnp.roll(wave, shift) * (0.5 + jax.random.uniform(jax.random.fold_in(key, 1)))

        several = jax.vmap(lambda key, wave: jax.vmap(lambda k: view(k, wave))(jax.random.split(key, self.count)))
        return {"wave": several(keys, batch["wave"])}

    def evaluation(self, batch: Batch, policy: str = "") -> Batch:
        """The records as they are."""
        return {"wave": batch["wave"]}

    def plain(self, batch: Batch) -> Array:
        """The energy [B, 4] of four parts."""
        return jnp.square(batch["wave"]).reshape(len(batch["wave"]), 4, -1).mean(-1)

    def panel(self, views: Views) -> dict[str, Panel]:
        """Every view."""
        return {"views": Signals(views["wave"])}


class TextEncoder(nn.Module):
    """Words as vectors, one hidden layer, and the mean over the valid ones."""

    width: int = 8
    norm: str = "none"
    dtype: str = "float32"

    @nn.compact
    def __call__(self, tokens: Array, valid: Array, train: bool = False) -> Array:
        """Vectors [B, L, width]."""
        x = nn.Embed(WORDS, self.width, dtype=self.dtype, name="words")(tokens)
        x = nn.Dense(self.width, dtype=self.dtype, name="dense")(x)
        return nn.relu(Norm(self.norm, self.dtype, name="norm")(x, train))

    def features(self, tokens: Array, valid: Array, train: bool = False) -> Array:
        """Features [B, width]."""
        x, seen = self(tokens, valid, train), valid[..., None]
        return (x * seen).sum(1, dtype=wide(x.dtype)) / jnp.maximum(seen.sum(1), 1)


class WaveEncoder(nn.Module):
    """A convolution in time, and the mean over places."""

    width: int = 8
    norm: str = "none"
    dtype: str = "float32"

    @nn.compact
    def __call__(self, wave: Array, train: bool = False) -> Array:
        """Vectors [B, T / 4, width]."""
        x = nn.Conv(self.width, (8,), 4, dtype=self.dtype, name="conv")(wave[..., None].astype(self.dtype))
        return nn.relu(Norm(self.norm, self.dtype, name="norm")(x, train))

    def features(self, wave: Array, train: bool = False) -> Array:
        """Features [B, width]."""
        return self(wave, train).mean(1)


def records(count: int, seed: int = 0) -> Mapping[str, np.ndarray]:
    """A batch with `tokens`, `valid`, `wave`, `label` in [0, 4), and the pipeline's own fields."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, count)
    return {
        "tokens": (1 + 4 * label[:, None] + rng.integers(0, 4, (count, LENGTH))).astype(np.int32),
        "valid": np.arange(LENGTH) < rng.integers(4, LENGTH, count)[:, None],
        "wave": np.sin(np.arange(SAMPLES) * (1 + label[:, None]) / 4 + rng.uniform(0, 6, (count, 1))).astype(
            np.float32
        ),
        "label": label.astype(np.int32),
        "_id": np.arange(count, dtype=np.int32),
        "_epoch": np.zeros(count, np.int32),
    }
