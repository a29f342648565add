"""Every test sees 8 CPU devices and exact matmuls; a test that needs float64 uses `jax.enable_x64`."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
# Level 0 halves the time that compiling takes: tests compile far more than they compute.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
os.environ["XLA_FLAGS"] = FLAGS + os.environ.get("XLA_FLAGS", "")
os.environ["SSL_JAX_COMPILE_CACHE"] = "off"  # tests of the cache say where

import jax  # the environment above, and what ssl_jax adds to it, must be set before the first device is used

import ssl_jax  # noqa: F401

jax.config.update("jax_default_matmul_precision", "highest")
