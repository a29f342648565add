"""60,000 pictures against 10,000: seconds, CPU seconds and memory. `python tests/audit/large.py` prints them.

20,000 and 5,000 are the embedded garments; the others are the means of two of them, with 1,000 planted duplicates in the 10,000.
"""

import os
import resource
import time

import numpy as np
from planted_pictures import audited, planted, scores

from ssl_jax.data.sources import Embedded


def means(pictures, count, rng):
    """Pictures that are no garments and look like them."""
    one, other = (pictures[rng.integers(0, len(pictures), count)].astype(np.int32) for _ in range(2))
    return ((one + other) // 2).astype(np.uint8)


def main():
    rng = np.random.default_rng(0)
    garments, tested = (Embedded(split).columns["image"] for split in ("pretrain", "test"))
    first = [*garments, *means(garments, 40_000, rng)]
    second, truth = planted(first[:20_000], [*tested, *means(tested, 4_000, rng)], 200, rng)
    start, cpu = time.time(), time.process_time()
    found = audited(first, second, say=lambda line: print(line, flush=True))
    told = scores(found, truth)
    print(f"{time.time() - start:.0f} s, {time.process_time() - cpu:.0f} CPU seconds, load {os.getloadavg()[0]:.1f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB; {found['pairs_found']}")
    print({key: value for key, value in told.items() if key != "wrong"}, len(told["wrong"]))


if __name__ == "__main__":
    main()
