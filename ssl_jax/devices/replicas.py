"""Copies of the state on several devices must be equal to the last bit; a device whose copy differs computes wrongly.

Every device sums the bits of what it holds; devices that hold copies of the same piece must have the same sum. One flipped
bit always changes it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from ssl_jax.devices.mesh import path_name
from ssl_jax.errors import UserError

P = PartitionSpec


class ReplicaCheck:
    """Compares the copies of a state on `mesh`. Call it with a state: UserError if one differs.

    The program is compiled once. A state of which no leaf has copies (one device) costs nothing.
    """

    def __init__(self, mesh: Mesh, like: Any) -> None:
        leaves, _ = jax.tree_util.tree_flatten_with_path(like)
        self._mesh, self._names = mesh, [path_name(path) for path, _ in leaves]
        self._specs = [_padded(leaf.sharding.spec, len(leaf.shape)) for _, leaf in leaves]
        self._sums = jax.jit(
            jax.shard_map(
                partial(_all_sums, axes=mesh.axis_names),
                mesh=mesh,
                in_specs=(self._specs,),
                out_specs=P(),
                check_vma=False,  # its point is that what should be replicated may not be
            )
        )

    def __call__(self, state: Any) -> None:
        """Compare; waits for the device. Collective: all processes call it."""
        if self._mesh.size == 1:
            return
        sums = np.asarray(self._sums(jax.tree.leaves(state)))
        found = differing(sums.reshape(*self._mesh.devices.shape, -1), self._specs, self._mesh)
        if found:
            lines = "\n".join(f"  {_of(d)}: {', '.join(names)}" for d, names in self._by_device(found).items())
            raise UserError(
                "copies of the state differ between devices, so at least one of them computes wrongly:\n" + lines
                + "\nNothing was saved since the last check. Take the device (or its machine) out of service, and start the "
                "same command again: it resumes from the last checkpoint"
            )  # fmt: skip

    def _by_device(self, found: list[tuple[int, jax.Device]]) -> dict[jax.Device, list[str]]:
        devices: dict[jax.Device, list[str]] = {}
        for leaf, device in found:
            devices.setdefault(device, []).append(self._names[leaf])
        return {
            d: names[:3] + ([f"and {len(names) - 3} more"] if len(names) > 3 else []) for d, names in devices.items()
        }


def differing(sums: np.ndarray, specs: list[PartitionSpec], mesh: Mesh) -> list[tuple[int, jax.Device]]:
    """Which leaves differ on which devices, from the bit sums uint32 [*mesh shape, leaves].

    Devices at the same place along the axes that a leaf is split over hold copies of one piece. The most frequent sum
    among them is taken for right; where none is more frequent than another, all of them are named.
    """
    found = []
    for leaf, spec in enumerate(specs):
        split = {name for part in spec if part for name in ((part,) if isinstance(part, str) else part)}
        over = tuple(i for i, name in enumerate(mesh.axis_names) if name not in split)
        rest = tuple(i for i in range(len(mesh.axis_names)) if i not in over)
        grouped = sums[..., leaf].transpose(*rest, *over).reshape(-1, *(sums.shape[i] for i in over))
        devices = mesh.devices.transpose(*rest, *over).reshape(grouped.shape)
        for copies, holders in zip(grouped, devices, strict=True):
            values, counts = np.unique(copies, return_counts=True)
            if len(values) == 1:
                continue
            usual = values[counts == counts.max()]
            wrong = copies != usual[0] if len(usual) == 1 else np.ones_like(copies, bool)
            found += [(leaf, device) for device in np.atleast_1d(holders[wrong])]
    return found


def bit_sum(x: Array) -> Array:
    """The sum of the bits of `x`, read as unsigned integers, modulo 2^32. A uint32 scalar."""
    if x.dtype == jnp.bool_:
        x = x.astype(jnp.uint8)
    unsigned = {1: jnp.uint8, 2: jnp.uint16}.get(x.dtype.itemsize, jnp.uint32)  # 8 bytes become two words
    return jnp.sum(jax.lax.bitcast_convert_type(x, unsigned).astype(jnp.uint32), dtype=jnp.uint32)


def _all_sums(leaves: list[Array], axes: tuple[str, ...]) -> Array:
    """Inside shard_map: this device's sums, gathered from all devices: uint32 [devices, leaves]."""
    return jax.lax.all_gather(jnp.stack([bit_sum(x) for x in leaves]), axes)


def _padded(spec: PartitionSpec, rank: int) -> PartitionSpec:
    return P(*spec, *[None] * (rank - len(spec)))


def _of(device: jax.Device) -> str:
    return f"device {device.id} ({device.device_kind}) of process {device.process_index}"
