"""Proofs for the user's own recipe and objective that the package's tests give for its own: `ssl-jax verify`."""
