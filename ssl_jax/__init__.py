"""Self-supervised pretraining in JAX: objectives, sharded training, honest evaluation."""

__version__ = "0.1.0"
