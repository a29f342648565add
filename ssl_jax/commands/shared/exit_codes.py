"""What `ssl-jax` returns to the shell; docs/reliability.md lists what each means."""

DONE, FAILED, FIXABLE, DOES_NOT_FIT, INTERRUPTED = 0, 1, 2, 3, 130
