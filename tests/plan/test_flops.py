"""FLOPs from the jaxpr are the compiler's count of the unrolled graph, and know loops and dead code."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from ssl_jax.models.attention import ATTENTION
from ssl_jax.plan.estimate import estimate, traced
from ssl_jax.plan.flops import flops
from ssl_jax.plan.graph import graph_of
from ssl_jax.plan.problem import problem
from ssl_jax.plan.summary import ONE_DEVICE
from ssl_jax.recipe import load


def ours(function, *args):
    return flops(graph_of(jax.make_jaxpr(function)(*args)))


def compilers(function, *args):
    """The compiler's count, before it optimises. Element-wise work is counted there too."""
    return jax.jit(function).lower(*args).cost_analysis()["flops"]


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


def layers(w, x, unrolled):
    if unrolled:
        for i in range(w.shape[0]):
            x = x @ w[i]
        return x
    return jax.lax.scan(lambda x, w: (x @ w, None), x, w)[0]


def linear_loss(w, x, unrolled):
    return jnp.sum(layers(w, x, unrolled))


def test_matrix_products_of_a_scan_count_as_the_compiler_counts_them_unrolled():
    w, x = shape(6, 32, 32), shape(64, 32)
    gradient = jax.value_and_grad(linear_loss, argnums=(0, 1))
    unrolled = partial(gradient, unrolled=True)
    assert ours(partial(gradient, unrolled=False), w, x) == ours(unrolled, w, x)
    forward_and_backward = 3 * 6 * 2 * 64 * 32 * 32
    assert ours(unrolled, w, x) == forward_and_backward
    assert compilers(unrolled, w, x) == pytest.approx(forward_and_backward, rel=0.03)  # with the element-wise rest
    scanned = compilers(partial(gradient, unrolled=False), w, x)
    assert scanned < 0.5 * forward_and_backward  # why the compiler's count is not used


@pytest.mark.parametrize(("stride", "size"), [(1, 3), (2, 3), (2, 7)])
def test_convolutions_and_their_gradients_count_as_the_compiler_counts_them(stride, size):
    conv = nn.Conv(16, (size, size), stride, padding=[(size // 2,) * 2] * 2, use_bias=False)
    x = shape(2, 16, 16, 8)
    params = jax.eval_shape(conv.init, jax.random.key(0), x)
    forward = conv.apply
    assert ours(forward, params, x) == compilers(forward, params, x)

    def backward(params, x, y):
        return jax.vjp(conv.apply, params, x)[1](y)

    y = jax.eval_shape(forward, params, x)
    # A padded row or hole in the dilated input is no work, for us and for the compiler.
    assert ours(backward, params, x, y) == pytest.approx(compilers(backward, params, x, y), rel=1e-6)


def test_a_small_transformer_counts_as_the_compiler_counts_it_unrolled():
    from ssl_jax.models.drop_path import Section
    from ssl_jax.models.mask import Mask
    from ssl_jax.models.transformer import Block

    blocks = [Block(2, 512, sections=(Section(1, 16),)) for _ in range(3)]
    x, rest = shape(4, 16, 128), (0.0, Mask(), None)  # drop rate, mask, rotation
    params = [jax.eval_shape(lambda key, x, b=b: b.init(key, x, *rest), jax.random.key(0), x) for b in blocks]

    def loss(params, x):
        for block, p in zip(blocks, params, strict=True):
            x, _ = block.apply(p, x, *rest)
        return jnp.sum(x)

    count, theirs = ours(jax.grad(loss), params, x), compilers(jax.grad(loss), params, x)
    assert 0.9 * theirs < count < theirs  # theirs counts norms, softmax and GELU too


def test_what_the_outputs_do_not_depend_on_is_not_counted():
    w, x = shape(5, 8, 8), shape(8, 8)

    def two_scans(w, x):
        def body(carry, w):
            used, unused = carry
            return (used @ w, unused @ w @ w), jnp.sum(unused)

        (used, _), _ = jax.lax.scan(body, (x, x), w)
        _ = x @ x
        return used

    assert ours(two_scans, w, x) == 5 * 2 * 8**3
    assert ours(lambda w, x: jax.lax.map(lambda v: (v @ v, v.sum())[1], w), w, x) == 0


def test_recomputation_branches_and_devices_count():
    w, x = shape(8, 8), shape(8, 8)
    one = 2 * 8**3
    f = jax.checkpoint(lambda w, x: jnp.sin(jnp.sin(x @ w) @ w).sum())
    assert ours(jax.value_and_grad(f, argnums=(0, 1)), w, x) == 8 * one  # 2 forward, 2 again, 4 backward
    assert ours(jax.grad(f, argnums=(0, 1)), w, x) == 6 * one  # nobody asked for the value
    assert ours(lambda w, x: jax.lax.cond(x[0, 0] > 0, lambda: x @ w @ w, lambda: x), w, x) == 2 * one
    mesh = jax.make_mesh((4,), ("data",), devices=jax.devices()[:4], axis_types=(jax.sharding.AxisType.Auto,))
    P = jax.sharding.PartitionSpec
    split = jax.shard_map(jnp.matmul, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    assert ours(split, x, w) == one


def test_attention_in_kernels_counts_as_attention_that_shows_its_products(monkeypatch):
    hidden = lambda query, key, value, *others, **more: value  # noqa: E731 (as a kernel: no product to be seen)
    monkeypatch.setitem(ATTENTION, "flash", hidden)
    plain, kernel = (problem(load("mae_vit_fashion:tiny", [f"--config.model.attention={a}"])) for a in ("xla", "flash"))
    seen = [estimate(posed, 1) for posed in (plain, kernel)]
    assert seen[0].flops == seen[1].flops == seen[0].model_flops == seen[1].model_flops
    assert flops(traced(kernel, ONE_DEVICE, kernel.state())) < seen[0].flops
