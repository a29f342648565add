"""Only time in which the process could run counts."""

from ssl_jax.devices.watchdog import running


def test_a_pause_counts_as_one_tick():
    assert [running(passed, 1.0) for passed in (0.9, 1.0, 1.9, 3600.0)] == [0.9, 1.0, 1.9, 1.0]
