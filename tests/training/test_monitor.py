"""Metrics on their way to the log: a step late, so that the device always has the next step to go on with."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.units import tokens
from ssl_jax.rundir.log import MetricsLog, read_metrics
from ssl_jax.training.monitor import Monitor

RECIPE = SimpleNamespace(batch_size=4, optimizer=SimpleNamespace(max_nonfinite_steps=3))
BATCH = {"_id": np.arange(4), "_epoch": np.zeros(4, int)}


@pytest.fixture
def monitor(tmp_path):
    with MetricsLog(SimpleNamespace(path=tmp_path, metrics=tmp_path / "metrics.jsonl"), 2, False) as log:
        yield Monitor(log, RECIPE, lambda: None, 1, tokens)


def metrics(loss):
    return {"loss": loss, "grad_norm": 1.0, "lr": 0.1, "skipped": 0, "skipped_in_a_row": 0}


def test_a_line_is_written_without_a_computation_on_the_device(monitor, tmp_path):
    """What the host computes with jax waits behind the step that was just started, and the device then has nothing to do."""
    on_device = jax.device_put([metrics(2.0), metrics(1.0)])
    with jax.transfer_guard("disallow"), pytest.raises(Exception, match="Disallowed"):
        jnp.cos(3.0).block_until_ready()  # what the guard is for
    with jax.transfer_guard("disallow"):
        monitor.push(1, 1, on_device[0], BATCH)
        monitor.push(2, 1, on_device[1], BATCH)
    assert [r["loss"] for r in read_metrics(tmp_path)] == [2.0]
    monitor.flush()
    assert [r["loss"] for r in read_metrics(tmp_path)] == [2.0, 1.0]


def test_speed_is_in_real_tokens_too_where_records_have_them(monitor, tmp_path, capsys):
    """A dispatch of two steps: what is padding does not count, and tokens and examples are timed by one clock."""
    batch = {k: np.stack([v, v]) for k, v in BATCH.items()}
    batch |= {
        "tokens": np.zeros((2, 4, 6), int),
        "valid": np.arange(6) < np.array([[6], [3], [2], [1]]) + np.zeros((2, 1, 1)),
    }
    monitor.push(2, 2, {k: np.array([v, v]) for k, v in metrics(1.0).items()}, batch)
    monitor.flush()
    first, _ = read_metrics(tmp_path)
    assert first["tokens_per_s"] / first["examples_per_s"] == pytest.approx(12 / 4)
    assert " tokens/s" in (tmp_path / "train.log").read_text()
