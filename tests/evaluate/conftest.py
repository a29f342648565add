"""Records that are not images, and an encoder for them."""

from dataclasses import dataclass

import jax
import numpy as np
import pytest
from flax import linen as nn

from ssl_jax.data.sources.arrays import Arrays
from ssl_jax.objectives.base import Encoder


class Projection(nn.Module):
    """Random features with ReLU of a signal [B, T]."""

    width: int = 24

    @nn.compact
    def features(self, signal, train=False):
        return nn.relu(nn.Dense(self.width, name="dense")(signal))


@dataclass(frozen=True)
class Scaled:
    """Evaluation-time input: float signals."""

    scale: float = 0.01

    def __call__(self, batch):
        assert "label" not in batch
        return {"signal": batch["signal"] * self.scale}


def signals(count, seed, classes=4, length=24, **options):
    """`signal` int16 [count, length] of noisy class means, with labels."""
    noise = np.random.default_rng(seed)
    label = (np.arange(count) % classes).astype(np.int32)
    signal = 150 * np.eye(classes, length)[label] + 100 * noise.standard_normal((count, length))
    return Arrays({"signal": signal.astype(np.int16), "label": label}, **options)


@pytest.fixture(scope="session")
def encoder():
    return Encoder(Projection(), ("params", "encoder"), ("signal",), Scaled())


@pytest.fixture(scope="session")
def variables(encoder):
    return encoder.module.init(jax.random.key(0), np.zeros((1, 24), np.float32), method="features")


@pytest.fixture(scope="session")
def make_signals():
    return signals
