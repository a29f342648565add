"""Runs side by side: what they reached, whether they differ by more than chance, and in what their recipes differ."""
