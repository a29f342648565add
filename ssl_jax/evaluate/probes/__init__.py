"""One file for each probe: `<name>.py` with a dataclass `Probe` is the probe `<name>`."""
