"""Attention with every mask, bias and rotation is a softmax over an explicit matrix, in values and gradients."""

import re
from contextlib import nullcontext
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.devices.compiler import compiling_for
from ssl_jax.errors import UserError
from ssl_jax.models.attention import (
    Choice,
    attend,
    attend_cudnn,
    attend_flash,
    attend_sections,
    auto_choice,
    flash_choice,
    flash_choices,
)
from ssl_jax.models.drop_path import Section
from ssl_jax.models.mask import Mask
from ssl_jax.models.splash import attend_splash

B, N, H, K, D = 2, 6, 4, 2, 4  # examples, tokens, heads of queries and of keys, head width


def array(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


QUERY, KEY, VALUE, BACK = array(0, B, N, H, D), array(1, B, N, K, D), array(2, B, N, K, D), array(3, B, N, H, D)
# The first token of the first example may attend to nothing: it is not valid, and alone in its document.
VALID = np.array([[False, True, True, True, False, True], [True] * 5 + [False]])
SEGMENTS = np.array([[7, 2, 2, 2, 0, 0], [1, 1, 1, 1, 3, 3]])
MASKS = [
    Mask(valid, causal, segments) for valid, causal, segments in product((None, VALID), (False, True), (None, SEGMENTS))
]
BIASES = {"none": None, "heads": array(4, H, N, N), "examples": array(5, B, H, N, N), "shared": array(6, B, 1, N, N)}
TURN = array(7, B, N, D // 2)  # angles of every row
CASES = [
    *((mask, bias, angle) for mask in MASKS for bias, angle in (("none", None), ("heads", TURN))),
    *product(MASKS[-1:], BIASES, (TURN[0],)),  # the same angles in every row
]


def matrix(mask, tokens=N):
    """[B, 1, N, N], written out pair by pair."""
    seen = np.ones((B, 1, tokens, tokens), bool)
    for b, q, k in product(range(B), range(tokens), range(tokens)):
        seen[b, 0, q, k] = (
            (mask.valid is None or mask.valid[b, k])
            and (not mask.causal or k <= q)
            and (mask.segments is None or mask.segments[b, q] == mask.segments[b, k])
        )
    return seen


def turned(x, angle, sign=1):
    if angle is None:
        return x
    angle = angle if angle.ndim == 3 else angle[None]
    cos, sin = (f(np.concatenate([angle, angle], axis=-1))[:, :, None] for f in (np.cos, np.sin))
    first, second = np.split(x, 2, axis=-1)
    return x * cos + sign * np.concatenate([-second, first], axis=-1) * sin


def reference(query, key, value, back, seen, bias, angle=None):
    """The output of attention, and `back` pulled back to queries, keys and values, in float64."""
    query, key = turned(query, angle), turned(key, angle)
    many = lambda x: np.repeat(x, query.shape[2] // x.shape[2], axis=2)  # noqa: E731
    logits = np.einsum("bqhd,bkhd->bhqk", query, many(key)) / np.sqrt(query.shape[-1])
    logits = np.where(seen, logits + (0 if bias is None else bias), -np.inf)
    weights = np.where(seen, np.exp(logits - np.max(logits, axis=-1, keepdims=True, initial=-1e9)), 0)
    weights = weights / np.maximum(weights.sum(axis=-1, keepdims=True), 1e-300)
    to_weights = np.einsum("bqhd,bkhd->bhqk", back, many(value))
    to_logits = weights * (to_weights - (to_weights * weights).sum(axis=-1, keepdims=True))
    few = lambda x: x.reshape(*x.shape[:2], key.shape[2], -1, x.shape[3]).sum(axis=3)  # noqa: E731
    to_query = np.einsum("bhqk,bkhd->bqhd", to_logits, many(key)) / np.sqrt(query.shape[-1])
    to_key = few(np.einsum("bhqk,bqhd->bkhd", to_logits, query)) / np.sqrt(query.shape[-1])
    to_value = few(np.einsum("bhqk,bqhd->bkhd", weights, back))
    gradients = turned(to_query, angle, -1), turned(to_key, angle, -1), to_value
    return np.einsum("bhqk,bkhd->bqhd", weights, many(value)), *gradients, to_logits


def assert_all_close(found, expected, tolerance):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(ours, np.float64), theirs, rtol=tolerance, atol=tolerance)


def pulled_back(function, *arguments, back):
    out, pull = jax.vjp(function, *arguments)
    return out, *pull(jnp.asarray(back, out.dtype))


@pytest.mark.parametrize(
    "cases", [CASES, pytest.param(product(MASKS, BIASES, (None, TURN[0], TURN)), marks=pytest.mark.slow)]
)
def test_every_mask_bias_and_rotation_is_the_explicit_matrix_in_values_and_gradients(cases):
    cases = list(cases)

    def ours(mask, angle, query, key, value, bias):
        heads = query[:, :, None], jnp.stack([key, value], axis=2)
        table = (
            None if angle is None else (tuple(f(np.concatenate([angle, angle], axis=-1)) for f in (np.cos, np.sin)),)
        )
        return attend_sections(attend, heads, (Section(1, N),), mask, table, bias)

    @jax.jit
    def everything(*arrays):
        return [
            pulled_back(partial(ours, mask, angle), *arrays, BIASES[kind], back=BACK) for mask, kind, angle in cases
        ]

    with jax.enable_x64(True):
        results = everything(QUERY, KEY, VALUE)
    for (mask, kind, angle), (*found, to_bias) in zip(cases, results, strict=True):
        *expected, to_logits = reference(QUERY, KEY, VALUE, BACK, matrix(mask), BIASES[kind], angle)
        assert_all_close(found, expected, 1e-12)
        if kind != "none":
            summed = {"heads": (0, False), "examples": ((), False), "shared": (1, True)}[kind]
            np.testing.assert_allclose(to_bias, to_logits.sum(summed[0], keepdims=summed[1]), atol=1e-12)


def test_a_token_that_may_attend_to_nothing_gets_zeros():
    seen = matrix(Mask(VALID, True, SEGMENTS))[:, 0].any(axis=-1)
    out = jax.jit(attend)(QUERY, KEY, VALUE, Mask(VALID, True, SEGMENTS))
    np.testing.assert_array_equal((np.asarray(out) == 0).all(axis=(2, 3)), ~seen)
    assert not seen.all()


def test_cross_attention_within_documents_and_the_last_queries_of_a_causal_row():
    numbers = np.array([[2, 7, 0], [1, 3, 3]])
    mask = Mask(VALID, segments=numbers, key_segments=SEGMENTS)
    out = jax.jit(attend)(QUERY[:, :3], KEY, VALUE, mask)
    seen = (numbers[:, :, None] == SEGMENTS[:, None]) & VALID[:, None]
    expected = reference(QUERY[:, :3], KEY, VALUE, BACK[:, :3], seen[:, None], None)[0]
    np.testing.assert_allclose(out, expected, atol=1e-5)
    whole, last = (jax.jit(attend)(q, KEY, VALUE, Mask(causal=True)) for q in (QUERY, QUERY[:, -2:]))
    np.testing.assert_allclose(last, whole[:, -2:], atol=1e-6)


@pytest.mark.parametrize(
    "mask",
    [
        Mask(VALID, True, SEGMENTS),
        *(pytest.param(m, marks=pytest.mark.slow) for m in MASKS[:-1]),
    ],
)
def test_splash_attention_interpreted_is_the_explicit_matrix(mask):
    tpu = jax.jit(partial(pulled_back, lambda *x: attend_splash(*x, mask, interpret=True), back=BACK))
    expected = reference(QUERY, KEY, VALUE, BACK, matrix(mask), None)
    assert_all_close(tpu(*(x.astype(np.float32) for x in (QUERY, KEY, VALUE))), expected[:4], 2e-5)


@pytest.mark.parametrize("tokens", [N, N - 1])
@pytest.mark.parametrize("mask", MASKS[1::2])
def test_what_cudnn_is_given_is_the_explicit_matrix(monkeypatch, mask, tokens):
    """Its arguments, computed by XLA: the kernel itself needs the GPU (test_on_gpu.py). It trains on even lengths only."""
    plain, mask = jax.nn.dot_product_attention, jax.tree.map(lambda x: x[:, :tokens], mask)

    def even(query, *rest, **options):
        assert query.shape[1] % 2 == 0
        return plain(query, *rest, **{**options, "implementation": "xla"})

    monkeypatch.setattr("ssl_jax.models.attention.cuda_plugin_installed", lambda: True)
    monkeypatch.setattr("ssl_jax.models.attention.cudnn_installed", lambda: True)
    monkeypatch.setattr("jax.nn.dot_product_attention", even)
    low = [jnp.asarray(np.concatenate([x, x], -1), jnp.bfloat16)[:, :tokens] for x in (QUERY, KEY, VALUE)]
    wide = [np.asarray(x, np.float64) for x in low]
    with compiling_for("gpu"), flash_choices() as chosen:
        out = attend_flash(*low, mask)
    assert {c.name for c in chosen} == {"cudnn"}
    expected = reference(*wide, wide[0], matrix(mask, tokens), None)[0]
    np.testing.assert_allclose(np.asarray(out, np.float64), expected, atol=0.03)


def test_flash_picks_the_platforms_kernel_or_says_why_not(monkeypatch):
    monkeypatch.setattr("ssl_jax.models.attention.cuda_plugin_installed", lambda: True)
    monkeypatch.setattr("ssl_jax.models.attention.cudnn_installed", lambda: True)
    monkeypatch.setattr("ssl_jax.models.attention.tpu_compiler_installed", lambda: True)
    heads = lambda n=64, width=64, dtype="bfloat16": jax.ShapeDtypeStruct((2, n, 4, width), dtype)  # noqa: E731
    bias, valid = jax.ShapeDtypeStruct((4, 64, 64), "float32"), Mask(jax.ShapeDtypeStruct((2, 64), "bool"))
    for platform, query, mask, added, drop, name, reason in (
        ("gpu", heads(), valid, None, None, "cudnn", "for gpu"),
        ("gpu", heads(), Mask(causal=True), bias, None, "cudnn", "for gpu"),
        ("gpu", heads(), valid, bias, None, "xla", r"\[batch, heads, queries, keys\]"),
        ("gpu", heads(dtype="float32"), Mask(), None, None, "xla", "float32"),
        ("gpu", heads(width=12), Mask(), None, None, "xla", "width 12"),
        ("gpu", heads(63), valid, None, None, "cudnn", "for gpu"),
        ("gpu", heads(), Mask(), None, jnp.sin, "xla", "dropout"),
        ("tpu", heads(63, 12, "float32"), valid, None, None, "splash", "for tpu"),
        ("tpu", heads(), Mask(causal=True), bias, None, "xla", "bias"),
        ("tpu", heads(), Mask(), None, jnp.sin, "xla", "dropout"),
        ("cpu", heads(), Mask(), None, None, "xla", "cpu"),
    ):
        choice = flash_choice(platform, query, query, mask, added, drop)
        assert choice.name == name
        assert re.search(reason, choice.reason)
    assert auto_choice("gpu", heads(16), heads(16), Mask()) == Choice("xla", "16 tokens, and cudnn wins from 48")
    assert auto_choice("gpu", heads(), heads(), Mask()).name == "cudnn"
    assert auto_choice("cpu", heads(), heads(), Mask()).name == "xla"
    monkeypatch.setattr("ssl_jax.models.attention.tpu_compiler_installed", lambda: False)
    assert flash_choice("tpu", heads(), heads(), Mask()) == Choice("xla", "the compiler for tpu is not installed")
    with compiling_for("gpu"), pytest.raises(UserError, match=r"width 12.*attention=flash or xla"):
        jax.eval_shape(attend_cudnn, *[heads(width=12)] * 3)


@pytest.mark.parametrize("on_a_mesh", [False, True])
def test_no_matrix_of_queries_and_keys_is_in_the_program_for_tpus(monkeypatch, on_a_mesh):
    """On one device, and with examples and heads shared out over a mesh."""
    monkeypatch.setattr("ssl_jax.models.attention.tpu_compiler_installed", lambda: True)
    x = jax.ShapeDtypeStruct((8, 1000, 4, 64), "bfloat16")
    mask = Mask(causal=True, segments=jnp.zeros((8, 1000), int))
    gradient = jax.grad(lambda *x: attend_flash(*x, mask).astype(float).sum(), (0, 1, 2))
    mesh = jax.make_mesh((4, 1, 2), ("data", "fsdp", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 3)
    with jax.set_mesh(mesh) if on_a_mesh else nullcontext(), compiling_for("tpu"):
        lowered = jax.jit(gradient).trace(x, x, x).lower(lowering_platforms=("tpu",))
    text = lowered.as_text()
    assert text.count("tpu_custom_call") >= 3
    assert not re.search("10(24|00)x10(24|00)", text)
