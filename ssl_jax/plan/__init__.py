"""What a run would need and cost, before it is paid for: `ssl-jax plan`.

Nothing here allocates an array of the model. Bytes and FLOPs come from shapes and from the jaxpr of the real step; memory and
collectives come from compiling that step for the named chips in a child process, where their compiler is installed.
"""
