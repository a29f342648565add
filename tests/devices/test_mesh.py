"""Meshes and where arrays live on them."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from ssl_jax.devices.mesh import batch_sharding, check_batch, leaf_spec, make_mesh, place_batch
from ssl_jax.errors import UserError

BOTH = {"fsdp": 2, "tensor": 2}


def test_one_axis_may_take_what_is_left():
    assert dict(make_mesh().shape) == {"data": 8, "fsdp": 1, "tensor": 1}
    assert dict(make_mesh(-1, 2, 2).shape) == {"data": 2, "fsdp": 2, "tensor": 2}
    assert dict(make_mesh(devices=jax.devices()[:1]).shape) == {"data": 1, "fsdp": 1, "tensor": 1}


@pytest.mark.parametrize("sizes", [(3, 1, 1), (-1, 3, 1), (-1, -1, 1), (4, 4, 1)])
def test_sizes_that_do_not_fit_the_devices_are_refused(sizes):
    with pytest.raises(UserError, match="does not fit 8 device"):
        make_mesh(*sizes)


def test_a_batch_that_does_not_divide_names_the_axes_and_the_nearest_sizes():
    with pytest.raises(
        UserError, match="batch_size=100 is not divisible by the 2 x 4 devices on axes data x fsdp; use 96 or 104"
    ):
        check_batch(100, make_mesh(2, 4, 1))
    with pytest.raises(UserError, match=r"use 8$"):
        check_batch(3, make_mesh())
    check_batch(96, make_mesh(2, 4, 1))


@pytest.mark.parametrize(
    ("name", "shape", "sizes", "expected"),
    [
        ("params/head/dense0/kernel", (512, 2048), {"fsdp": 8}, P(None, "fsdp")),
        ("params/head/dense0/kernel", (2048, 100), {"fsdp": 8}, P("fsdp", None)),
        ("params/head/dense0/bias", (2048,), {"fsdp": 8}, P(None)),  # too small to be worth a gather
        ("params/encoder/blocks/fc1/kernel", (24, 192, 768), {"fsdp": 8}, P(None, None, "fsdp")),
        ("params/encoder/blocks/fc1/kernel", (24, 193, 769), {"fsdp": 8}, P(None, None, None)),
        ("opt_state/0/mu/blocks/qkv/kernel", (24, 192, 3, 4, 48), BOTH, P(None, "fsdp", None, "tensor", None)),
        ("extra/teacher/blocks/fc2/kernel", (24, 768, 192), {"tensor": 4}, P(None, "tensor", None)),
        ("params/encoder/blocks/proj/kernel", (24, 3, 64, 192), {"tensor": 2}, P(None, None, None, None)),
        ("step", (), {"fsdp": 8}, P()),
    ],
)  # fmt: skip
def test_where_a_leaf_lives_depends_on_its_path_and_shape(name, shape, sizes, expected):
    assert leaf_spec(name, shape, sizes) == expected


def test_rules_of_a_recipe_come_first():
    rules = ((r"prototypes/kernel$", (None, "tensor")),)
    assert leaf_spec("params/prototypes/kernel", (64, 4096), {"tensor": 8}, rules) == P(None, "tensor")


def test_a_batch_is_split_over_data_and_fsdp():
    mesh = make_mesh(2, 4, 1)
    placed = place_batch({"x": jnp.arange(16.0).reshape(16, 1).__array__()}, batch_sharding(mesh))["x"]
    assert placed.shape == (16, 1)
    assert {s.data.shape for s in placed.addressable_shards} == {(2, 1)}
