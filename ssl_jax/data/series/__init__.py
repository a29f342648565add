"""Time series: how files are read, cut into windows and normalised, and how their views are made."""
