"""Every test sees 8 CPU devices and exact matmuls; a test that needs float64 uses `jax.enable_x64`."""

import gc
import os
import signal

os.environ["JAX_PLATFORMS"] = os.environ.get("SSL_JAX_TEST_PLATFORM", "cpu")  # cuda: docs/accelerators.md
# Level 0 halves the time that compiling takes: tests compile far more than they compute.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
os.environ["XLA_FLAGS"] = FLAGS + os.environ.get("XLA_FLAGS", "")
os.environ["SSL_JAX_COMPILE_CACHE"] = "off"  # tests of the cache say where
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and runs would inherit that

import jax  # the environment above, and what ssl_jax adds to it, must be set before the first device is used
import pytest

import ssl_jax  # noqa: F401

jax.config.update("jax_default_matmul_precision", "highest")

# A worker comes to hold millions of objects, programs above all, which a collection would walk again and again: what a module
# left behind is not looked at any more. A sixteenth of the time of four files, more in a long run.
gc.set_threshold(100_000, 20, 100)


@pytest.fixture(autouse=True, scope="module")
def left_alone():
    """What is alive after the tests of a module is left out of later collections."""
    yield
    gc.collect()
    gc.freeze()
