"""Self-supervised pretraining in JAX: objectives, sharded training, honest evaluation."""

from ssl_jax.devices.compiler import avoid_wrong_reductions

__version__ = "0.1.0"

avoid_wrong_reductions()  # must come before jax starts its CPU backend
