"""The compiler returns the right numbers where it is known to fail."""

import os

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.devices.compiler import FLAG, avoid_wrong_reductions


def test_a_large_cross_entropy_is_the_same_with_and_without_jit():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(13, 5000, 10)), jnp.float32)
    targets = jax.nn.one_hot(rng.integers(0, 10, 5000), 10)
    loss = lambda x: jax.nn.logsumexp(x, -1) - jnp.sum(targets * x, -1)  # noqa: E731
    np.testing.assert_allclose(jax.jit(loss)(logits), loss(logits), rtol=1e-5, atol=1e-5)


def test_flags_of_the_user_are_kept(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda package: "0.10.2")
    monkeypatch.setenv("XLA_FLAGS", "--one=1")
    avoid_wrong_reductions()
    assert os.environ["XLA_FLAGS"] == f"--one=1 {FLAG}"
    monkeypatch.setenv("XLA_FLAGS", f"{FLAG}dot")
    avoid_wrong_reductions()
    assert os.environ["XLA_FLAGS"] == f"{FLAG}dot"


def test_a_version_that_may_not_know_the_flag_is_left_alone(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda package: "0.11.0")
    monkeypatch.setenv("XLA_FLAGS", "")
    avoid_wrong_reductions()
    assert os.environ["XLA_FLAGS"] == ""
