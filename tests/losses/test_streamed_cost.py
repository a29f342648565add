"""What a streamed loss holds and sends, and which placement is chosen."""

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_jax.devices.mesh import batch_sharding, make_mesh
from ssl_jax.errors import UserError
from ssl_jax.losses.streamed import contrastive, cost
from ssl_jax.losses.streamed.placement import Placement
from ssl_jax.losses.streamed.tiles import tile_size
from ssl_jax.plan.collectives import shapes, wire_bytes

PER_DEVICE, WIDTH = 32, 16


def compiled(devices, method, per_device=PER_DEVICE):
    mesh = make_mesh(devices=jax.devices()[:devices])
    with jax.set_mesh(mesh):
        x = jax.ShapeDtypeStruct((per_device * devices, WIDTH), jnp.float32, sharding=batch_sharding(mesh))
        loss = lambda u, v: contrastive.two_way_info_nce(u, v, 0.1, method).value  # noqa: E731
        out = (None, (batch_sharding(mesh), batch_sharding(mesh)))
        return jax.jit(jax.value_and_grad(loss, (0, 1)), out_shardings=out).lower(x, x).compile()


def test_a_ring_holds_no_more_on_more_devices_and_sends_three_times_the_columns():
    few, many = compiled(4, "ring"), compiled(8, "ring")
    temporary = [c.memory_analysis().temp_size_in_bytes for c in (few, many)]
    assert temporary[1] <= 1.05 * temporary[0]
    batch = 8 * PER_DEVICE
    sent = {kind: size / 4 for kind, size in wire_bytes(many.as_text()).items()}  # float32
    assert 2 * batch * WIDTH < sum(sent.values()) <= 3 * batch * WIDTH
    assert set(sent) <= {"collective-permute", "all-reduce"}
    assert not any(len(s) == 2 and min(s) >= batch for s in shapes(many.as_text()))


def test_the_plain_form_is_what_the_ring_avoids():
    text = compiled(8, "plain").as_text()
    assert any(s[-1:] == (8 * PER_DEVICE,) and len(s) == 2 for s in shapes(text))  # a row of logits per embedding


def test_tiles_replace_the_matrix_on_one_device():
    rows = 1024
    streamed, plain = (compiled(1, method, rows) for method in ("local", "plain"))
    assert (rows, rows) in shapes(plain.as_text())
    assert (rows, rows) not in shapes(streamed.as_text())
    assert streamed.memory_analysis().temp_size_in_bytes < 0.5 * plain.memory_analysis().temp_size_in_bytes


def test_collectives_in_a_loop_count_as_often_as_it_runs():
    mesh = make_mesh(devices=jax.devices()[:4])

    def shift(x):
        ring = [(i, (i + 1) % 4) for i in range(4)]
        return jax.lax.scan(lambda c, _: (jax.lax.ppermute(c, "data", ring) + 1, None), x, length=5)[0]

    spec = jax.sharding.PartitionSpec("data")
    run = jax.jit(jax.shard_map(shift, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))
    text = run.lower(jnp.zeros((4 * 6, 7))).compile().as_text()
    assert wire_bytes(text) == {"collective-permute": 4 * 5 * 6 * 7}


@given(n=st.integers(1, 5000), largest=st.sampled_from([8, 64, 512]))
def test_tiles_cover_all_entries_with_little_padding(n, largest):
    size = tile_size(n, largest)
    tiles = -(-n // size)
    assert size <= largest
    assert tiles * size - n < size
    assert n <= largest or size >= largest / 2


def chosen(mesh, method="auto", rows=2**15, columns=2**15, width=512, copies=False):
    with jax.set_mesh(mesh):
        return cost.choose(method, rows, columns, width, copies)


def test_small_batches_take_the_plain_form_and_large_ones_the_fewest_messages_that_fit():
    flat, nested = make_mesh(8), make_mesh(2, 4)
    assert chosen(flat, rows=256, columns=256) is None
    assert chosen(make_mesh(devices=jax.devices()[:1])) == Placement()
    assert chosen(flat, rows=2**12, columns=2**13, width=128) == Placement(gather=("data",))
    assert chosen(flat) == Placement(ring=("data",))
    assert chosen(nested) == Placement(ring=("data",), gather=("fsdp",))
    assert chosen(nested, width=4096) == Placement(ring=("data", "fsdp"))
    assert chosen(flat, columns=4096, width=64, copies=True) == Placement(copy=("data",))
    assert chosen(flat, rows=2**15 + 1) is None  # rows that do not divide


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "rings"}, "must be one of auto, plain"),
        ({"method": "hierarchical"}, "does not exist on a mesh with batch axes"),
        ({"method": "ring", "rows": 101}, "do not split evenly"),
    ],
)
def test_a_method_that_cannot_be_is_refused_with_a_remedy(changes, message):
    with pytest.raises(UserError, match=message):
        chosen(make_mesh(8), **changes)
