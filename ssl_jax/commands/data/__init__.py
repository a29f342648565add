"""The commands `ssl-jax data ...`: look at data, prepare it, choose from it."""
