"""One process that has imported everything, from which the runs of these tests are forked; they share compiled programs."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fault_runs


@pytest.fixture(scope="session", autouse=True)
def server(tmp_path_factory):
    """Where the runs keep what they compile."""
    cache = tmp_path_factory.mktemp("compiled")
    env = {
        "SSL_JAX_COMPILE_CACHE": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    before = {k: os.environ.get(k) for k in env}
    os.environ.update(env)
    fault_runs.SERVER.set_forkserver_preload(
        [
            "ssl_jax.training.run",
            "ssl_jax.devices.distributed",
            "ssl_jax.cli",
            "fault_runs",
            "orbax.checkpoint",
            "tensorboardX",
        ]
    )
    process = fault_runs.SERVER.Process(target=int)
    process.start()
    process.join()
    os.environ.update({k: v for k, v in before.items() if v is not None})
    for key in (k for k, v in before.items() if v is None):
        del os.environ[key]
    return cache


@pytest.fixture(scope="session")
def straight(tmp_path_factory):
    """A run of 24 steps that nothing happened to."""
    workdir = tmp_path_factory.mktemp("straight") / "run"
    fault_runs.trained(workdir)
    return workdir
