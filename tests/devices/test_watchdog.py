"""Only time in which the process could run counts."""

import os
import signal
import subprocess
import sys

from ssl_jax.devices.guard import stopped
from ssl_jax.devices.watchdog import running


def test_a_pause_counts_as_one_tick():
    assert [running(passed, 1.0) for passed in (0.9, 1.0, 1.9, 3600.0)] == [0.9, 1.0, 1.9, 1.0]


def test_who_is_stopped_is_seen():
    assert not stopped(os.getpid())
    assert not stopped(2**22 + 1)
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        os.kill(child.pid, signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        assert stopped(child.pid)
        child.kill()
