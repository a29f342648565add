"""How fast training steps are on the machine at hand: `tools/benchmark`."""
