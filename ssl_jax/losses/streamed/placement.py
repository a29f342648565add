"""Where columns are, and how they reach the rows: the collectives of the streamed losses, inside `jax.shard_map`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec

from ssl_jax.losses.prototypes import EXCLUDED
from ssl_jax.losses.streamed.tiles import Side

Axes = tuple[str, ...]


@dataclass(frozen=True)
class Placement:
    """Mesh axes by what happens to the columns along them. Rows are split over all of these axes.

    Columns are split over `ring` and `gather`, in this order. Blocks travel along `ring`; wherever one has arrived, it is
    brought together with its neighbours along `gather`. Along `copy` all columns are everywhere. Without axes, everything is
    on one device.

    Along `share` it is the other way round: rows are the same, each device has its own columns, and what rows have reached is
    merged at the end (a vocabulary over `tensor`).
    """

    copy: Axes = ()
    ring: Axes = ()
    gather: Axes = ()
    share: Axes = ()

    @property
    def rows(self) -> PartitionSpec:
        """How rows are split."""
        return PartitionSpec(self.copy + self.ring + self.gather)

    @property
    def cols(self) -> PartitionSpec:
        """How columns are split."""
        return PartitionSpec(self.share + self.ring + self.gather)

    def ring_size(self) -> int:
        """Blocks that meet on the ring; 1 without one."""
        sizes = jax.sharding.get_abstract_mesh().shape
        return int(np.prod([sizes[a] for a in self.ring]))

    def rotated(self, tree: Any, hops: int = 1) -> Any:
        """Each device's arrays, sent `hops` devices onward."""
        n = self.ring_size()
        if hops % n == 0:
            return tree
        onward = [(i, (i + hops) % n) for i in range(n)]
        return jax.tree.map(lambda a: jax.lax.ppermute(a, self.ring, onward), tree)

    def gathered(self, tree: Any) -> Any:
        """The blocks of all devices along `gather`, one after the other on axis 0."""
        if not self.gather:
            return tree
        return jax.tree.map(lambda a: jax.lax.all_gather(a, self.gather, tiled=True), tree)

    def without_own(self, group: Side, block: int) -> Side:
        """A gathered group in which this device's own `block` tiles do not count."""
        start = jax.lax.axis_index(self.gather) * block
        offset = jnp.zeros(group.x.shape[:2], group.x.dtype) if group.offset is None else group.offset
        out = jnp.full((block, *offset.shape[1:]), EXCLUDED, offset.dtype)
        return group._replace(offset=jax.lax.dynamic_update_slice_in_dim(offset, out, start, 0))

    def scattered(self, tree: Any) -> Any:
        """Each device's own block of a group, summed over `gather`: the opposite of `gathered`."""
        if not self.gather:
            return tree
        return jax.tree.map(lambda a: jax.lax.psum_scatter(a, self.gather, tiled=True), tree)

    def logscattered(self, group: Array | None) -> Array | None:
        """`log sum exp` instead of the sum."""
        if group is None or not self.gather:
            return group
        parts = jax.lax.all_to_all(group, self.gather, split_axis=0, concat_axis=0, tiled=True)
        return jax.nn.logsumexp(parts.reshape(jax.lax.axis_size(self.gather), -1, *group.shape[1:]), axis=0)

    def summed(self, tree: Any) -> Any:
        """The sum over `copy`."""
        return jax.tree.map(lambda a: jax.lax.psum(a, self.copy), tree) if self.copy else tree

    def logsummed(self, x: Array | None) -> Array | None:
        """`log sum exp` over `copy`."""
        if x is None or not self.copy:
            return x
        largest = jax.lax.pmax(x, self.copy)
        return largest + jnp.log(jax.lax.psum(jnp.exp(x - largest), self.copy))

    def merged(self, merge: Callable[[Any, Any], Any], parts: Any) -> Any:
        """What rows have reached on all devices along `share`."""
        if not self.share:
            return parts
        found = jax.tree.map(lambda a: jax.lax.all_gather(a, self.share), parts)
        count = jax.lax.axis_size(self.share)
        return reduce(merge, [jax.tree.map(itemgetter(i), found) for i in range(count)])

    def added(self, x: Array) -> Array:
        """The sum over `share`."""
        return jax.lax.psum(x, self.share) if self.share else x
