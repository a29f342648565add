"""The stack: its layers, dropout, decoders, and what language models' blocks are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.models.drop_path import DropPath
from ssl_jax.models.dropout import Dropout, dropped
from ssl_jax.models.heads import MaskedDecoder
from ssl_jax.models.mask import Mask
from ssl_jax.models.rows import RMSNorm
from ssl_jax.models.transformer import Memory, Style, Transformer

X, STATES = (np.random.default_rng(n).normal(size=(2, n, 16)).astype("float32") for n in (5, 4))
SMALL = {"depth": 3, "heads": 4, "mlp_dim": 8, "remat": "none"}
LLAMA = Style(norm="rms", bias=False, kv_heads=2)


def drawn(model, **options):
    """Variables of the right shapes; nothing is compiled for them."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), X, **options))
    draw = np.random.default_rng(0).normal
    return jax.tree.map(lambda s: jnp.asarray(draw(scale=0.3, size=s.shape), s.dtype), shapes)


def test_layers_are_those_of_shorter_stacks_and_asking_for_them_changes_no_parameter():
    model = Transformer(**{**SMALL, "remat": "full"})
    variables = drawn(model)

    def cut(depth):
        return {
            "params": variables["params"] | {"blocks": jax.tree.map(lambda w: w[:depth], variables["params"]["blocks"])}
        }

    @jax.jit
    def run():
        shorter = [Transformer(**{**SMALL, "depth": d}, style=Style(final_norm=False)).apply(cut(d), X) for d in (2, 3)]
        return model.apply(variables, X), model.apply(variables, X, last=2, method="outputs"), jnp.stack(shorter)

    alone, (output, layers), shorter = run()
    np.testing.assert_allclose(output, alone, atol=1e-6)
    np.testing.assert_allclose(layers, shorter, atol=1e-6)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), X, last=2, method="outputs"))
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, variables)


def test_dropout_draws_in_training_only_and_in_every_layer_anew():
    variables = drawn(Transformer(**SMALL))
    variables["params"]["blocks"] = jax.tree.map(lambda w: w[:1].repeat(3, 0), variables["params"]["blocks"])

    def run(key, train=True, **rates):
        model = Transformer(**SMALL, style=Style(final_norm=False), dropout=Dropout(**rates))
        return model.apply(variables, X, train=train, rngs={"noise": key}, last=3, method="outputs")[1]

    key = jax.random.key(3)
    assert len({str(jax.make_jaxpr(f)(key)) for f in (run, lambda key: run(key, False, branch=0.5))}) == 1
    places = ("tokens", "weights", "hidden", "branch")
    still, *noisy = jax.jit(lambda: [run(key, False), *(run(key, **{place: 0.5}) for place in places)])()
    for one in noisy:
        assert (one[0] != still[0]).any()
    one = noisy[-1]
    # Every layer is the same here: where the last number of a branch is zero, the layer adds nothing to it.
    unchanged = [one[0] == X, one[1] == one[0], one[2] == one[1]]
    assert (unchanged[0] != unchanged[1]).any()
    assert (unchanged[1] != unchanged[2]).any()
    np.testing.assert_allclose(dropped(key, jnp.ones(10_000), 0.2).mean(), 1, atol=0.02)
    with pytest.raises(UserError, match=r"dropout.hidden=1"):
        Dropout(hidden=1.0)


def test_a_decoder_sees_valid_states_of_its_own_document_and_no_later_token():
    model = Transformer(**SMALL, style=LLAMA)
    segments, of_states = jnp.array([[0, 0, 0, 1, 1], [0, 0, 1, 1, 1]]), jnp.array([[0, 0, 1, 1], [0, 1, 1, 1]])
    valid = jnp.array([[True, False, True, True], [True] * 4])
    mask = Mask(causal=True, segments=segments)
    variables = drawn(model, mask=mask, memory=Memory(STATES))
    out = lambda x, states: model.apply(variables, x, mask, memory=Memory(states, valid, of_states))  # noqa: E731

    @jax.jit
    def reach():
        """[n, B, S]: which outputs move with token (or state) n."""
        tokens = jax.vmap(lambda n: out(jnp.asarray(X).at[:, n].mul(-2), STATES))(jnp.arange(5))
        states = jax.vmap(lambda n: out(X, jnp.asarray(STATES).at[:, n].mul(-2)))(jnp.arange(4))
        still = out(X, STATES)
        return [jnp.moveaxis((jnp.abs(moved - still) > 1e-5).any(-1), 0, -1) for moved in (tokens, states)]

    to_tokens, to_states = map(np.asarray, reach())
    same, before = segments[:, :, None] == segments[:, None], np.tri(5, dtype=bool)
    seen = (segments[:, :, None] == of_states[:, None]) & valid[:, None]
    np.testing.assert_array_equal(to_tokens, same & before)
    np.testing.assert_array_equal(to_states, seen)
    names = set(variables["params"]["blocks"])
    assert names == {
        "norm1", "query", "key_value", "proj", "norm_cross", "cross_query", "cross_key_value", "cross_proj", "norm2",
        "fc1", "fc2",
    }  # fmt: skip
    assert not [p for p, _ in jax.tree_util.tree_leaves_with_path(variables) if p[-1].key == "bias"]


def test_a_packed_row_is_its_documents_alone():
    """With positions that start again in each document."""
    model = Transformer(**SMALL, style=LLAMA)
    angle = lambda n: jnp.arange(n)[:, None] * jnp.array([1.0, 0.1] * 2)  # noqa: E731
    table = lambda a: ((jnp.cos(a), jnp.sin(a)),)  # noqa: E731
    restarted = jnp.concatenate([angle(2), angle(2)])[None]
    mask, x = Mask(causal=True, segments=jnp.array([[4, 4, 0, 0]])), X[:1, :4]

    def packed(v):
        return model.apply(v, x, mask, rope=table(restarted))

    def alone(v):
        return model.apply(v, x.reshape(2, 2, 16), Mask(causal=True), rope=table(angle(2))).reshape(x.shape)

    variables = drawn(model)
    np.testing.assert_allclose(*jax.jit(lambda v: (packed(v), alone(v)))(variables), atol=1e-5)


def test_rms_norm_has_the_gradient_of_its_formula():
    model, variables = RMSNorm(1e-5), {"params": {"scale": jnp.linspace(0.5, 2, 16)}}
    formula = lambda v, x: v["params"]["scale"] * x / jnp.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)  # noqa: E731
    loss = lambda f: jax.value_and_grad(lambda v, x: jnp.sin(f(v, x)).sum(), (0, 1))  # noqa: E731
    both = jax.jit(lambda *x: [loss(f)(*x) for f in (model.apply, formula)])(variables, X)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), *both)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "width 16 is not divisible by heads=3"),
        ({"style": Style(kv_heads=3)}, "heads=4 is not a multiple of kv_heads=3"),
        ({"style": LLAMA, "qkv_bias": "query_value"}, "use all or none"),
        ({"attention": "fast"}, "use one of xla, cudnn, flash"),
        ({"mlp": "elu"}, "use one of gelu, gelu_tanh, quick_gelu, relu, swiglu, geglu, geglu_tanh"),
        ({"drop": DropPath(0.5, "subset")}, "use drop_path_mode=linear"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    model = Transformer(**{**SMALL, **options})
    with pytest.raises(UserError, match=message):
        jax.eval_shape(lambda: model.init(jax.random.key(0), X, Mask(jnp.ones((2, 5), bool)), train=True))
    with pytest.raises(UserError, match="norm='group' is unknown; use one of layer, layer_unbiased, rms"):
        Style(norm="group")


PLAIN = np.kron(np.eye(2), np.ones((4, 4))) > 0  # windows of 2 x 2 patches on a grid of 4 x 2 in raster order
EARLIER = np.kron(np.diag([1, 0, 0, 1]), np.ones((2, 2))) + np.pad(np.ones((4, 4)), 2) > 0  # borders one row earlier


@pytest.mark.parametrize(("shift", "reached"), [((), PLAIN), ((1, 0), EARLIER @ PLAIN)], ids=["still", "shifted"])
def test_a_decoder_with_windows_sees_what_lies_in_them_and_no_class_token(shift, reached):
    sizes = {"depth": 2, "heads": 2, "mlp_dim": 8, "remat": "full"}
    model = MaskedDecoder(3, width=8, **sizes, window=(2, 2), shift=shift)
    tokens, restore = np.random.default_rng(0).normal(size=(1, 9, 8)).astype("float32"), jnp.arange(8)[None]
    params = model.init(jax.random.key(0), tokens, restore, (4, 2))
    moved = jax.jit(jax.jacrev(lambda x: model.apply(params, x, restore, (4, 2))[0].sum(-1)))(tokens)[:, 0]
    np.testing.assert_array_equal(np.abs(moved).max(-1) > 0, np.pad(reached, ((0, 0), (1, 0))))


def test_a_window_has_the_axes_of_the_patches():
    model = MaskedDecoder(3, width=8, depth=1, heads=1, window=(2, 2), shift=(1,))
    with pytest.raises(
        UserError, match=r"window=\(2, 2\) and shift=\(1,\) have to have the 2 axes of the patches \(4, 2\)"
    ):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 9, 8)), jnp.zeros((1, 8), int), (4, 2)))
