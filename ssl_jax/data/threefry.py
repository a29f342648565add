"""`jax.random`'s keys and uniform numbers in numpy, bit for bit, so that a process that only reads data needs no jax.

Threefry-2x32 with 20 rounds: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
section 4. How jax makes keys and floats of it (`jax_threefry_partitionable`, its default) is held by a test.
"""

from __future__ import annotations

import numpy as np

Words = tuple[np.ndarray, np.ndarray]  # uint32, of one shape
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def example_keys(seed: int, epochs: np.ndarray, records: np.ndarray) -> np.ndarray:
    """The keys uint32 [R, 2] of examples, as `objectives.base.example_keys` has them."""
    root = fold_in(seeded(seed), 0)
    return fold_in(fold_in(root, epochs), records)


def seeded(seed: int) -> np.ndarray:
    """`jax.random.key(seed)`, uint32 [2]."""
    return np.array([0, seed & 0xFFFFFFFF], np.uint32)


def fold_in(keys: np.ndarray, data: np.ndarray | int) -> np.ndarray:
    """`jax.random.fold_in` of keys [..., 2] and integers that broadcast against [...]."""
    words = np.asarray(data).astype(np.uint32)
    return np.stack(_threefry((keys[..., 0], keys[..., 1]), (np.zeros_like(words), words)), axis=-1)


def uniform(keys: np.ndarray, count: int) -> np.ndarray:
    """The first `count` of `jax.random.uniform(key, (n,))`, any n, for keys [..., 2]: float32 [..., count] in [0, 1)."""
    place = np.arange(count, dtype=np.uint32)
    high, low = _threefry((keys[..., :1], keys[..., 1:]), (np.zeros_like(place), place))
    return (((high ^ low) >> np.uint32(9)) | np.uint32(0x3F800000)).view(np.float32) - np.float32(1)


@np.errstate(over="ignore")  # words wrap, and numpy would say so of a single one
def _threefry(key: Words, count: Words) -> Words:
    """The two words that each key makes of each counter."""
    schedule = (*key, key[0] ^ key[1] ^ _PARITY)
    x, y = np.broadcast_arrays(count[0] + key[0], count[1] + key[1])
    for group in range(5):
        for turn in _ROTATIONS[group % 2]:
            x = x + y
            y = (y << np.uint32(turn) | y >> np.uint32(32 - turn)) ^ x
        x = x + schedule[(group + 1) % 3]
        y = y + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x, y
