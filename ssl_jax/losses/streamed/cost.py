"""Which placement: a cost model of two numbers, the bytes that a device holds and the seconds that it communicates.

What goes over the wire is nearly the same everywhere, 3 x the columns: forward, backward, and the gradient back. What differs is
the number of messages, and what a device holds at once. So: the fastest placement whose columns, with their gradient, fit in
`MEMORY`. Gathering sends the fewest messages; a ring holds the least.

The constants are orders of magnitude for a node's links, not measurements: give a method by name where you know better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import jax

from ssl_jax.devices.mesh import BATCH_AXES, TENSOR
from ssl_jax.errors import UserError
from ssl_jax.losses.streamed.placement import Placement

METHODS = ("auto", "plain", "local", "gather", "ring", "hierarchical")
PLAIN = 2**20  # logits on a device up to which the plain form is as good: 4 MB of float32
MEMORY = 2**26  # bytes of a device for columns of other devices, with their gradient: 64 MiB
LATENCY = 1e-5  # seconds per message
BANDWIDTH = 5e10  # bytes per second and device


def batch_axes() -> dict[str, int]:
    """The batch axes of the mesh in use that are longer than 1, with their sizes."""
    sizes = jax.sharding.get_abstract_mesh().shape
    return {a: sizes[a] for a in BATCH_AXES if sizes.get(a, 1) > 1}


def placements(axes: dict[str, int], copies: bool = False) -> dict[str, Placement]:
    """Every placement on these axes by name. With `copies`, columns may be whole on every device (they are parameters)."""
    names = tuple(axes)
    if not names:
        return dict.fromkeys(("local", "gather", "ring", "hierarchical"), Placement())
    both = {"gather": Placement(gather=names), "ring": Placement(ring=names)}
    # The last axis of a mesh joins the nearest devices: gather along it, and send single blocks along the others.
    hierarchical = {"hierarchical": Placement(ring=names[:-1], gather=names[-1:])} if len(names) > 1 else {}
    return ({"local": Placement(copy=names)} if copies else {}) | both | hierarchical


def memory(place: Placement, axes: dict[str, int], columns: int, width: int) -> float:
    """Bytes of float32 columns and their gradient that one device holds at once."""
    return 2 * 4 * columns * width / _size(place.ring, axes)


def seconds(place: Placement, axes: dict[str, int], columns: int, width: int) -> float:
    """Seconds of communication in a forward and backward pass that overlap nothing."""
    blocks, neighbours = _size(place.ring, axes), _size(place.gather, axes)
    split = blocks * neighbours
    wire = 3 * 4 * columns * width * (split - 1) / split / BANDWIDTH
    messages = 3 * (blocks - 1) + 3 * blocks * math.log2(neighbours)
    if place.copy:
        wire += 2 * 4 * columns * width / split / BANDWIDTH
        messages += 2 * math.log2(_size(place.copy, axes))
    return wire + messages * LATENCY


def shared(columns: int) -> tuple[str, ...]:
    """The axis over which columns that are parameters are split although rows are not: `tensor`, where it divides them."""
    size = jax.sharding.get_abstract_mesh().shape.get(TENSOR, 1)
    return (TENSOR,) if size > 1 and columns % size == 0 else ()


def choose_for_words(method: str, rows: int, columns: int, width: int) -> Placement | None:
    """As `choose`, for a table of parameters whose columns are split over `tensor`, too, where that axis divides them."""
    share = shared(columns)
    place = choose(method, rows, columns // _size(share, jax.sharding.get_abstract_mesh().shape), width, copies=True)
    return None if place is None else replace(place, share=share)


def choose(method: str, rows: int, columns: int, width: int, copies: bool = False) -> Placement | None:
    """The placement for `method` on the mesh in use, or None for the plain form. "auto" chooses.

    Args:
        method: one of METHODS.
        rows: R, of the global batch.
        columns: candidates of each row: C.
        width: D.
        copies: whether the columns are parameters, which may be whole on every device.

    Raises:
        UserError: the method is unknown, does not exist on this mesh, or the rows or columns cannot be split evenly.
    """
    if method not in METHODS:
        raise UserError(f"method={method!r}: must be one of {', '.join(METHODS)}")
    axes = batch_axes()
    devices = _size(tuple(axes), axes)
    even = rows % devices == 0
    if method == "plain" or (method == "auto" and (not even or rows // devices * columns <= PLAIN)):
        return None
    known = placements(axes, copies)
    if method == "auto":
        known = {k: p for k, p in known.items() if columns % _size(p.ring + p.gather, axes) == 0}
        fit = [p for p in known.values() if memory(p, axes, columns, width) <= MEMORY]
        if fit:
            return min(fit, key=lambda p: seconds(p, axes, columns, width))
        return min(known.values(), key=lambda p: memory(p, axes, columns, width), default=None)
    if method not in known:
        raise UserError(
            f"method={method!r} does not exist on a mesh with batch axes {axes}; use one of {', '.join(known)}, or auto"
        )
    place = known[method]
    if not even or columns % _size(place.ring + place.gather, axes):
        raise UserError(
            f"{rows} rows and {columns} columns do not split evenly over {axes}; use method='plain' or 'auto'"
        )
    return place


def _size(names: tuple[str, ...], axes: Mapping[str, int]) -> int:
    return math.prod(axes[a] for a in names)
