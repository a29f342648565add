"""The figures of `tools/benchmark_video`: all loops read the same frames."""

import numpy as np

from ssl_jax.benchmark import video as measured
from ssl_jax.benchmark.video import LOOPS, Settings, Work


def test_all_loops_read_the_same_frames_and_the_table_compares_them():
    with measured.video(Settings(frames=24, group=8)) as path:
        for side in (128, measured.HEIGHT):
            ours, *others = (measured.read(loop, path, Work((0, 13), 5, side)) for loop in LOOPS.values())
            for other in others:
                assert abs(np.stack(ours).astype(int) - np.stack(other)).mean() < 2
        rates = measured.rates(path, Work((0,), 4, 64), 1)
    table = measured.as_text({"video": {"frames": 24, "group": 8, "bytes": 9}, "per_core": {"some": rates}})
    assert "some: x " in table
    assert "OpenCV" in table
