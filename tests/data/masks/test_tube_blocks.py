"""V-JEPA's masks: static counts, the same in all frames, and as often as the published sampler hides them."""

import jax
import numpy as np
import pytest

from ssl_jax.data.masks.tube_blocks import TubeBlocks
from ssl_jax.errors import UserError

GRID = (8, 14, 14)  # 16 frames of 224 pixels
SETTINGS = {"short": {}, "long": {"blocks": 2, "scale": 0.7, "seen": 0.1, "hidden": 0.72}}
# The published sampler at batch 8: seen and hidden of 1,568 tokens, after it cut all to the smallest.
PUBLISHED = {"short": (437, 800), "long": (150, 1128)}


def shown(index, valid):
    """Which patches an index holds, [B, frames, rows * columns]."""
    found = np.zeros((len(index), np.prod(GRID)), bool)
    rows = np.broadcast_to(np.arange(len(index))[:, None], index.shape)
    found[rows[valid], index[valid]] = True
    return found.reshape(len(index), GRID[0], -1)


@pytest.mark.parametrize("name", SETTINGS)
def test_tubes_have_static_counts_and_are_never_seen_and_hidden(name):
    masking = TubeBlocks(GRID, **SETTINGS[name])
    draw = jax.jit(jax.vmap(masking, (None, 0)))
    keys, steps = jax.random.split(jax.random.key(0), 16), jax.random.split(jax.random.key(1), 8)
    drawn = jax.tree.map(lambda x: np.asarray(x).reshape(-1, x.shape[-1]), draw(keys, steps))
    seen, hidden = shown(drawn.context, drawn.context_valid), shown(drawn.targets, drawn.targets_valid)
    for found, valid, published in zip(
        (seen, hidden), (drawn.context_valid, drawn.targets_valid), PUBLISHED[name], strict=True
    ):
        np.testing.assert_array_equal(found, np.repeat(found[:, :1], GRID[0], axis=1))
        np.testing.assert_array_equal(found.sum((1, 2)), valid.sum(1))  # no patch twice
        assert (valid.sum(1) > 0).all()
        assert valid.shape[1] == pytest.approx(published, rel=0.07)
        assert valid.mean() > 0.95
    assert not (seen & hidden).any()
    assert len(np.unique(hidden[:16], axis=0)) == 16


def test_short_blocks_leave_the_same_place_to_be_seen_at_other_times():
    masking = TubeBlocks((4, 6, 6), blocks=2, scale=0.25, aspect=(1.0, 1.0), seen=0.9, hidden=0.9, duration=0.5)
    found = jax.jit(masking)(jax.random.split(jax.random.key(0), 64), jax.random.key(1))
    hidden = np.zeros((64, 4 * 36), bool)
    for row, index, valid in zip(hidden, found.targets[:, 0], found.targets_valid[:, 0], strict=True):
        row[np.asarray(index)[np.asarray(valid)]] = True
    hidden = hidden.reshape(64, 4, 6, 6)
    lasting = hidden.sum((1, 2, 3))
    assert set(lasting) <= set(range(18, 37))  # two blocks of 2 x 3 x 3 patches, which may overlap
    assert hidden.any((0, 2, 3)).all()
    assert (hidden.any(1) & ~hidden.all(1)).any((1, 2)).all()
    seen = np.asarray(found.context_valid).sum(1)
    np.testing.assert_array_equal(seen, np.minimum(144 - lasting, round(0.9 * 144)))


def test_what_cannot_be_hidden_is_refused():
    for options, words in (
        ({"scale": 1.2}, "scale=1.2: a share"),
        ({"hidden": 0.0}, "hidden=0.0: a share"),
        ({"duration": 0.0}, "duration=0.0: a share of the frames"),
        ({"blocks": 0}, "blocks=0: use 1 or more"),
        ({"grid": (8, 3, 3), "scale": 0.99, "aspect": (1.0, 1.0)}, "scale=0.99 covers all of 3x3"),
    ):
        with pytest.raises(UserError, match=words):
            TubeBlocks(**({"grid": GRID} | options))
