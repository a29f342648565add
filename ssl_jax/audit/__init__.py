"""What is in the data, and what is in it twice: `ssl-jax audit` and `ssl-jax data card`."""
