"""Features are the same however many devices and processes make them, and whatever divides."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from ssl_jax.devices.mesh import make_mesh
from ssl_jax.evaluate.features import extract


@pytest.mark.parametrize(("records", "batch_size"), [(30, 7), (13, 16), (3, 64)])
def test_eight_devices_make_the_features_of_one(encoder, variables, make_signals, records, batch_size):
    source = make_signals(records, 0)
    with jax.set_mesh(make_mesh()):
        shared = extract(encoder, variables, source, batch_size, fields=("label",))
    alone = extract(encoder, variables, source, batch_size)
    np.testing.assert_allclose(shared.x, alone.x, rtol=1e-5, atol=1e-6)
    for found in (shared.ids, shared.fields["label"] * 0 + shared.ids):
        np.testing.assert_array_equal(found, np.arange(records))
    np.testing.assert_array_equal(shared.y, alone.y)


ONE_DEVICE = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
PROCESS = """
import sys
sys.path.insert(0, {tests!r})
import jax
jax.distributed.initialize({address!r}, 2, {index}, local_device_ids=[0])
import numpy as np
from conftest import Projection, Scaled, signals
from ssl_jax.devices.mesh import make_mesh
from ssl_jax.evaluate.features import extract
from ssl_jax.objectives.base import Encoder
encoder = Encoder(Projection(), ("params", "encoder"), ("signal",), Scaled())
variables = jax.device_get(encoder.module.init(jax.random.key(0), np.zeros((1, 24), np.float32), method="features"))
class Named:
    inner = signals(29, 0)
    def __len__(self): return len(self.inner)
    def __getitem__(self, i): return self.inner[i] | {{"name": "n" * (1 + i % 3) + str(i)}}
    def fingerprint(self): return "named"
with jax.set_mesh(make_mesh()):
    found = extract(encoder, variables, Named(), 7, fields=("name",))
np.savez({out!r}, x=found.x, y=found.y, ids=found.ids, name=found.fields["name"])
"""


@pytest.mark.slow  # two processes that start jax
def test_two_processes_make_the_features_of_one(encoder, variables, make_signals, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    tests, outs = str(Path(__file__).parent), [str(tmp_path / f"{i}.npz") for i in range(2)]
    code = [PROCESS.format(tests=tests, address=address, index=i, out=out) for i, out in enumerate(outs)]
    started = [subprocess.Popen([sys.executable, "-c", text], env=ONE_DEVICE) for text in code]
    assert [process.wait(timeout=300) for process in started] == [0, 0]
    alone = extract(encoder, variables, make_signals(29, 0), 7)
    for out in outs:
        with np.load(out) as found:
            np.testing.assert_allclose(found["x"], alone.x, rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(found["y"], alone.y)
            np.testing.assert_array_equal(found["ids"], np.arange(29))
            assert found["name"].tolist() == ["n" * (1 + i % 3) + str(i) for i in range(29)]
