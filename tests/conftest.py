"""Every test sees 8 CPU devices and exact matmuls; a test that needs float64 uses `jax.enable_x64`."""

import os

from ssl_jax.compiler import quick_to_compile

os.environ["JAX_PLATFORMS"] = "cpu"
# Tests compile far more than they compute.
FLAGS = f"--xla_force_host_platform_device_count=8 {quick_to_compile()} "
os.environ["XLA_FLAGS"] = FLAGS + os.environ.get("XLA_FLAGS", "")
os.environ["SSL_JAX_COMPILE_CACHE"] = "off"  # tests of the cache say where

import jax

jax.config.update("jax_default_matmul_precision", "highest")
