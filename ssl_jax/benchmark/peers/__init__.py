"""The same training step in JAX and in PyTorch, in child processes that take turns. Nothing in ssl_jax imports torch."""
