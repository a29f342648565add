"""Devices: meshes, where parameters live on them, and where batches go.

Three axes, all of them always there: `data` (replicas), `fsdp` (replicas that also share out the parameters, optimiser
state and teacher) and `tensor` (layers split across devices). A batch is split over `data` x `fsdp`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from ssl_jax.errors import UserError

P = PartitionSpec
AXES = ("data", "fsdp", "tensor")
BATCH_AXES = ("data", "fsdp")
TENSOR = "tensor"
STACK = "blocks"  # transformer layers are stacked along axis 0 under this name; that axis is never split
HOST = "pinned_host"  # the kind of memory that a device copies to and from while it computes
SMALLEST_SPLIT = 2**12  # leaves with fewer elements are cheaper to copy than to gather

Rules = Sequence[tuple[str, tuple[str | None, ...]]]

# Megatron-style splits for a transformer (Shoeybi et al. 2019, arXiv 1909.08053): heads, MLP width and words over `tensor`.
TENSOR_RULES: Rules = (
    (r"blocks/qkv/kernel$", (None, None, None, "tensor", None)),
    (r"blocks/qkv/bias$", (None, None, "tensor", None)),
    (r"blocks/(cross_)?query/kernel$", (None, None, "tensor", None)),  # grouped queries, and cross-attention
    (r"blocks/(cross_)?query/bias$", (None, "tensor", None)),
    (r"blocks/(cross_)?key_value/kernel$", (None, None, None, "tensor", None)),
    (r"blocks/(cross_)?key_value/bias$", (None, None, "tensor", None)),
    (r"blocks/(cross_)?proj/kernel$", (None, "tensor", None, None)),
    (r"blocks/fc1/kernel$", (None, None, "tensor")),
    (r"blocks/fc1/bias$", (None, "tensor")),
    (r"blocks/fc1/kernel$", (None, None, None, "tensor")),  # SwiGLU: gate and value apart
    (r"blocks/fc1/bias$", (None, None, "tensor")),
    (r"blocks/fc2/kernel$", (None, "tensor", None)),
    (r"(^|/)(tokens/embedding|words/table)$", ("tensor", None)),  # one row for each word
    (r"(^|/)(words|head)/bias$", ("tensor",)),
)


def axis_sizes(count: int, data: int = -1, fsdp: int = 1, tensor: int = 1) -> tuple[int, int, int]:
    """The sizes of the axes on `count` devices, with -1 filled in; raises UserError when they do not multiply to `count`."""
    sizes = [data, fsdp, tensor]
    known = int(np.prod([s for s in sizes if s != -1]))
    if sizes.count(-1) == 1 and known and count % known == 0:
        sizes[sizes.index(-1)] = count // known
    if -1 in sizes or int(np.prod(sizes)) != count:
        raise UserError(
            f"mesh data={data} fsdp={fsdp} tensor={tensor} does not fit {count} device(s); "
            "the product must equal the device count (one axis may be -1)"
        )
    return sizes[0], sizes[1], sizes[2]


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over `devices` (default: all). One axis may be -1: whatever is left.

    Of several TPU slices, only `data` runs between them. Raises UserError when the sizes do not multiply to the number of
    devices, or `data` is not a multiple of the slices.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = axis_sizes(len(devices), data, fsdp, tensor)
    # Auto axes: the partitioner propagates shardings, as under pjit. make_mesh's default is Explicit.
    auto = (AxisType.Auto,) * len(AXES)
    slices = len({getattr(d, "slice_index", None) for d in devices}) if devices[0].platform == "tpu" else 1
    if slices > 1:
        if sizes[0] % slices:
            raise UserError(
                f"mesh data={sizes[0]} is not a multiple of the {slices} slices; only data runs between slices"
            )
        inside = (sizes[0] // slices, *sizes[1:])
        grid = mesh_utils.create_hybrid_device_mesh(inside, (slices, 1, 1), devices, allow_split_physical_axes=True)
        return Mesh(grid, AXES, axis_types=auto)
    try:
        return jax.make_mesh(sizes, AXES, devices=devices, axis_types=auto)
    except (
        NotImplementedError
    ):  # no axis of a torus has this size (fsdp=8 on 16 x 16): split one, over neighbours still
        grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
        return Mesh(grid, AXES, axis_types=auto)


def check_batch(batch_size: int, mesh: Mesh | AbstractMesh, microbatches: int = 1) -> None:
    """UserError, naming the axes and the nearest valid sizes, unless every device gets the same number of rows."""
    shards = batch_shards(mesh) * microbatches
    if batch_size % shards:
        below, above = batch_size // shards * shards, (batch_size // shards + 1) * shards
        near = " or ".join(str(n) for n in (below, above) if n > 0)
        what = f"the {mesh.shape['data']} x {mesh.shape['fsdp']} devices on axes data x fsdp"
        what += f" and {microbatches} microbatches" if microbatches > 1 else ""
        raise UserError(f"batch_size={batch_size} is not divisible by {what}; use {near}")


def shard_batch(x: Array) -> Array:
    """Pin axis 0 of an activation to the batch axes of the mesh in use, if there is one.

    Without this the partitioner may move activations instead of gathering FSDP weights, at many times the bytes. An axis
    that the devices do not divide (few logical groups) is left to the partitioner.
    """
    axes = batch_split(x.shape[0])
    return x if axes is None else jax.lax.with_sharding_constraint(x, P(axes, *[None] * (x.ndim - 1)))


def batch_split(examples: int) -> tuple[str, ...] | None:
    """The axes of the mesh in use over which so many examples are split; None where they are not."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not set(BATCH_AXES) <= set(mesh.axis_names) or examples % batch_shards(mesh):
        return None
    return BATCH_AXES


def shard_words(table: Array) -> Array:
    """Pin a table of words [V, ...] to `tensor`, where the mesh in use has that axis and it divides V, and to nothing else.

    Without this the partitioner goes from one split to another by way of whole tables on every device.
    """
    size = jax.sharding.get_abstract_mesh().shape.get(TENSOR, 1)
    if size == 1 or len(table) % size:
        return table
    return jax.lax.with_sharding_constraint(table, P(TENSOR, *[None] * (table.ndim - 1)))


def batch_shards(mesh: Any) -> int:
    """Over how many devices a batch is split."""
    return int(np.prod([mesh.shape[axis] for axis in BATCH_AXES]))


def replicate(x: Any) -> Any:
    """A copy of all of `x` on every device of the mesh in use, if there is one, so that every process can read it."""
    return x if jax.sharding.get_abstract_mesh().empty else jax.lax.with_sharding_constraint(x, P())


def path_name(path: tuple) -> str:
    """A tree path as `a/b/c`."""
    return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)


def leaf_spec(
    name: str, shape: tuple[int, ...], sizes: Mapping[str, int], rules: Rules = (), smallest: int | None = None
) -> PartitionSpec:
    """Where one array of the state lives: the first rule whose regex matches `name`, then FSDP on what is left.

    FSDP splits the largest dimension that `fsdp` divides and no rule took; layer stacks keep their layer axis whole. The
    rule depends on path and shape only, so moments and teacher land beside the parameters they mirror. Leaves with fewer
    than `smallest` elements (default: `SMALLEST_SPLIT`) are copied.
    """
    spec: list[str | None] = [None] * len(shape)
    for pattern, axes in (*rules, *TENSOR_RULES):
        if re.search(pattern, name) and len(axes) == len(shape):
            spec = [
                a if a and sizes.get(a, 1) > 1 and n % sizes[a] == 0 else None for a, n in zip(axes, shape, strict=True)
            ]
            break
    if sizes.get("fsdp", 1) > 1 and "fsdp" not in spec and np.prod(shape) >= (smallest or SMALLEST_SPLIT):
        first = 1 if f"/{STACK}/" in f"/{name}" and len(shape) > 1 else 0
        free = [d for d in range(first, len(shape)) if spec[d] is None and shape[d] % sizes["fsdp"] == 0]
        if free:
            spec[max(free, key=lambda d: shape[d])] = "fsdp"
    return P(*spec)


def state_shardings(
    state: Any, mesh: Mesh, rules: Rules = (), smallest: int | None = None, offload: str = "none"
) -> Any:
    """A `NamedSharding` for every leaf of `state` (arrays or shapes).

    With `offload="optimizer"`, all but the small leaves of the optimiser's state are in the host's memory. UserError where the
    devices cannot reach it.
    """
    if offload == "optimizer":
        _require_host_memory(mesh)

    def place(path: tuple, leaf: Any) -> NamedSharding:
        name = path_name(path)
        spec = leaf_spec(name, leaf.shape, dict(mesh.shape), rules, smallest)
        away = offload == "optimizer" and name.startswith("opt_state/") and np.prod(leaf.shape) >= SMALLEST_SPLIT
        return NamedSharding(mesh, spec, memory_kind=HOST) if away else NamedSharding(mesh, spec)

    return jax.tree_util.tree_map_with_path(place, state)


def _require_host_memory(mesh: Mesh) -> None:
    device = mesh.devices.flat[0]
    kinds = [memory.kind for memory in device.addressable_memories()]
    if HOST not in kinds:
        raise UserError(
            f"mesh.offload=optimizer: {device.device_kind} has the memories {', '.join(kinds)} and no {HOST}; use none"
        )


def fetched(tree: Any) -> Any:
    """The arrays in device memory, wherever they are stored. For use inside `jit`."""
    return jax.tree.map(lambda x: jax.device_put(x, jax.memory.Space.Device) if _on_host(x) else x, tree)


def stored_as(tree: Any, like: Any) -> Any:
    """The arrays back in the host's memory where those of `like` are. For use inside `jit`."""
    return jax.tree.map(lambda x, old: jax.device_put(x, jax.memory.Space.Host) if _on_host(old) else x, tree, like)


def _on_host(x: Any) -> bool:
    return jax.typeof(x).memory_space == jax.memory.Space.Host


def batch_sharding(mesh: Mesh, steps_axis: bool = False) -> NamedSharding:
    """Axis 0 (or axis 1, behind an axis of steps) split over the batch axes."""
    return NamedSharding(mesh, P(None, BATCH_AXES) if steps_axis else P(BATCH_AXES))


def place_batch(batch: Mapping[str, np.ndarray], sharding: NamedSharding) -> dict[str, Array]:
    """This process's rows of a global batch -> global arrays on the mesh."""
    return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}
