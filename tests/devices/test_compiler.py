"""The compiler returns the right numbers where it is known to fail."""

import os
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.devices.compiler import FLAG, accelerators, avoid_wrong_reductions, flags_told, leave_out_absent_tpu


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


def test_a_run_says_which_flags_are_set_and_by_whom(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"--one=1 {FLAG}")
    monkeypatch.setenv("LIBTPU_INIT_ARGS", "--two=2")
    ours, *given = flags_told("cpu")
    assert FLAG in ours
    assert "a value of yours in XLA_FLAGS is kept" in ours
    assert given == ["compiler: --one=1 (XLA_FLAGS)", "compiler: --two=2 (LIBTPU_INIT_ARGS)"] == flags_told("gpu")


def test_a_version_that_may_not_know_the_flag_is_left_alone(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda package: "0.11.0")
    monkeypatch.setenv("XLA_FLAGS", "")
    avoid_wrong_reductions()
    assert os.environ["XLA_FLAGS"] == ""


def test_a_tpu_that_is_not_there_is_not_tried(monkeypatch, tmp_path):
    installed = {"libtpu"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name if name in installed else None)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [])
    monkeypatch.setattr("ssl_jax.devices.compiler.accelerators", lambda: accelerators(tmp_path))
    vendor = tmp_path / "sys/bus/pci/devices/0000:00:05.0/vendor"
    vendor.parent.mkdir(parents=True)

    def chosen(set_by_user=None):
        monkeypatch.delenv("JAX_PLATFORMS", raising=False)
        monkeypatch.delenv("JAX_FORCE_TPU_INIT", raising=False)
        if set_by_user is not None:
            monkeypatch.setenv("JAX_PLATFORMS", set_by_user)
        leave_out_absent_tpu()
        return os.environ.get("JAX_PLATFORMS")

    vendor.write_text("0x8086\n")
    assert (chosen(), chosen(""), chosen("tpu")) == ("cpu", "", "tpu")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [SimpleNamespace(name="rocm")])
    assert chosen() is None
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [SimpleNamespace(name="xla_cuda13")])
    assert chosen() == "cpu"
    vendor.write_text("0x1ae0\n")
    assert chosen() is None
    installed.clear()
    vendor.write_text("0x8086\n")
    assert chosen() is None
