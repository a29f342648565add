"""Memory that a step frees is kept for the next one, on a CPU and nowhere else."""

import platform
import subprocess
import sys

import pytest

from ssl_jax import cli
from ssl_jax.devices import allocator

SCRIPT = """
import resource, sys
from ssl_jax.devices.allocator import keep_freed_memory
kept = sys.argv[1] == "keep" and keep_freed_memory()
import jax, jax.numpy as jnp

@jax.jit
def step(x):  # with a temporary of 36 MB
    return jnp.tanh(jax.lax.optimization_barrier(x @ x.T)).sum()

x = jnp.ones((3072, 16))
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
each = []
for _ in range(31):
    before = faults()
    step(x).block_until_ready()
    each.append(faults() - before)
print(int(kept), sorted(each)[15])  # the heap grows now and then, until it has a hole of every size
"""


def faults(how: str) -> tuple[int, int]:
    """Whether memory was kept, and the median of page faults per step, in a process of its own."""
    run = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True)
    kept, count = map(int, run.stdout.split())
    return kept, count


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_a_step_finds_the_pages_of_the_one_before(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    pages = 3072 * 3072 * 4 // 4096  # of the temporary
    assert faults("plain")[1] >= pages  # if this fails, XLA keeps them itself, and the module can go
    kept, count = faults("keep")
    assert kept
    assert count < pages / 10


@pytest.mark.parametrize(
    ("platforms", "plugins", "expected"),
    [("cpu", ["libtpu"], True), ("tpu,cpu", [], False), ("cuda", [], False), ("", [], True), ("", ["libtpu"], False),
     ("", ["jax_plugins"], False)],
)  # fmt: skip
def test_only_where_jax_runs_on_the_cpu(monkeypatch, platforms, plugins, expected):
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setattr(allocator.importlib.util, "find_spec", lambda name: name if name in plugins else None)
    monkeypatch.setattr(allocator.metadata, "entry_points", lambda group: [])
    assert allocator.on_cpu() is expected


def test_the_command_line_keeps_memory(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(cli, "keep_freed_memory", lambda: calls.append(1))
    assert cli.main(["recipes"]) == 0
    assert calls == [1]
