"""Published weights through the import engine, for tests."""

import numpy as np

from ssl_jax.interop.files import Weights
from ssl_jax.interop.importing import converted, exported
from ssl_jax.interop.shapes import built


def under(arrays, prefix):
    """The arrays whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}


def published(tensors, config):
    """Module, its variables, and all that the engine says of tensors. What is written again is what was read, to the bit."""
    found = converted(Weights(tensors, config, "golden"))
    assert not found.left_over
    theirs = {found.family.renamed(name).removeprefix(found.prefix): x for name, x in tensors.items()}
    written = exported(found.family, found.model, found.variables)
    same = [name for name in written if (old := theirs.get(name.removeprefix(found.family.prefix))) is not None]
    assert len(same) > len(written) / 2
    for name in same:
        ours, old = written[name], theirs[name.removeprefix(found.family.prefix)]
        # Rows of a table that are never read are zeros when it is written.
        first = len(old) - np.count_nonzero(np.any(ours != 0, axis=tuple(range(1, ours.ndim)))) if ours.ndim == 2 else 0
        np.testing.assert_array_equal(ours[first:], old[first:], name)
    return built(found.model), found.variables, found
