"""A process that a signal of the machine kills leaves the signal's name and its stacks in the log."""

import subprocess
import sys

import numpy as np

CUT = """
import os, sys
import numpy as np
from pathlib import Path
from ssl_jax.devices.fatal import fatal_signals_told
with fatal_signals_told(Path("train.log")):
    rows = np.load("x.npy", mmap_mode="r")
    os.truncate("x.npy", 4096)
    def batch():
        return rows.sum()
    batch()
"""


def test_a_cut_memory_map_is_told_in_the_log(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(1 << 20))
    (tmp_path / "train.log").write_text("before\n")
    ended = subprocess.run([sys.executable, "-c", CUT], cwd=tmp_path, timeout=60, capture_output=True)
    assert ended.returncode == -7, ended.stderr
    log = (tmp_path / "train.log").read_text()
    assert log.startswith("before\nFatal Python error: Bus error")
    assert "in batch" in log
