"""ResNets by parameter counts, shapes, and a block written in plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawing import drawn, normal

from ssl_jax.errors import UserError
from ssl_jax.models.resnet import ResidualBlock, ResNet


def count(model, shape):
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))
    return sum(np.prod(x.shape) for x in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    ("depth", "with_classifier"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032), (101, 44_549_160)]
)
def test_parameter_counts_are_the_published_ones(depth, with_classifier):
    features = 512 if depth < 50 else 2048
    classifier = (features + 1) * 1000
    assert count(ResNet(depth), (1, 224, 224, 3)) == with_classifier - classifier


@pytest.mark.parametrize(("stem", "shape"), [("imagenet", (1, 2, 2, 512)), ("small", (1, 8, 8, 512))])
def test_stems_reduce_the_image_by_32_and_by_8(stem, shape):
    model = ResNet(18, stem)
    image = jnp.zeros((1, 64, 64, 3))
    out = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x)[0], image)
    assert out.shape == shape


def conv(x, kernel, stride=1):
    """3x3 or 1x1 convolution, NHWC, with symmetric padding, by the definition."""
    size = kernel.shape[0]
    x = np.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    rows = range(0, x.shape[1] - size + 1, stride)
    columns = range(0, x.shape[2] - size + 1, stride)
    cell = lambda i, j: np.tensordot(x[:, i : i + size, j : j + size], kernel, axes=3)  # noqa: E731
    return np.stack([np.stack([cell(i, j) for j in columns], axis=1) for i in rows], axis=1)


def batch_norm(x, scale, bias):
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean) / np.sqrt(var + 1e-5) * scale + bias


@pytest.mark.parametrize(("bottleneck", "stride"), [(False, 1), (False, 2), (True, 2)])
def test_a_block_equals_plain_numpy(bottleneck, stride):
    rng = np.random.default_rng(0)
    block = ResidualBlock(4, stride, bottleneck)
    x = rng.normal(size=(2, 6, 6, 8)).astype(np.float32)
    variables = drawn(block.init, jax.random.key(0), x, True, scale=1.0)
    ours, _ = jax.jit(lambda v: block.apply(v, x, True, mutable=["batch_stats"]))(variables)

    p = variables["params"]
    norm = lambda y, name: batch_norm(y, **p[name]["bn"])  # noqa: E731
    relu = lambda y: np.maximum(y, 0)  # noqa: E731
    strides = (1, stride, 1) if bottleneck else (stride, 1)
    names = [("conv1", "norm1"), ("conv2", "norm2"), ("conv3", "norm_last")] if bottleneck else []
    names = names or [("conv1", "norm1"), ("conv2", "norm_last")]
    y = x
    for i, ((c, n), s) in enumerate(zip(names, strides, strict=True)):
        y = norm(conv(y, p[c]["kernel"], s), n)
        y = relu(y) if i + 1 < len(names) else y
    shortcut = norm(conv(x, p["shortcut"]["kernel"], stride), "norm_shortcut") if "shortcut" in p else x
    np.testing.assert_allclose(ours, relu(y + shortcut), rtol=2e-4, atol=2e-4)


def test_a_new_block_is_the_identity_on_positive_maps():
    x = np.abs(normal(0, 1, 4, 4, 8))
    block = ResidualBlock(8)
    out, _ = jax.jit(lambda: block.init_with_output(jax.random.key(1), x, True))()
    np.testing.assert_allclose(out, x, atol=1e-6)


def test_unknown_depth_and_stem_are_refused():
    with pytest.raises(UserError, match="depth=19"):
        count(ResNet(19), (1, 32, 32, 3))
    with pytest.raises(UserError, match="stem='tiny'"):
        count(ResNet(18, "tiny"), (1, 32, 32, 3))
