"""A streamed loss is the plain loss: value and gradient, wherever its columns are."""

import itertools
from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.devices.mesh import make_mesh
from ssl_jax.losses import contrastive, prototypes, vocabulary
from ssl_jax.losses.streamed import classes, rounds
from ssl_jax.losses.streamed import contrastive as streamed
from ssl_jax.losses.streamed.cost import METHODS
from ssl_jax.plan.graph import graph_of

ROWS, WIDTH, CLASSES = 48, 6, 80
MESHES = {"1": None, "8": (8, 1, 1), "2x4": (2, 4, 1)}


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setitem(rounds.TILE, "cpu", 16)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def pair(rows=ROWS, width=WIDTH):
    return normal(0, rows, width), normal(1, rows, width)


def scores(rows, table):
    return jnp.einsum("rd,kd->rk", rows, table)


WEIGHTS = (np.arange(ROWS) % 5 > 0).astype(np.float64)
LABELS = np.random.default_rng(5).integers(0, CLASSES, ROWS)
TWINS = np.arange(ROWS) // 2 * (np.arange(ROWS) < 8) + np.arange(ROWS) * (
    np.arange(ROWS) >= 8
)  # some queries are the same
SAME = np.random.default_rng(4).integers(0, 20, (ROWS, 2, 2)) % 5  # some pictures are the same, and some captions
CENTRE = normal(6, CLASSES)
TEACHER = normal(7, ROWS, 4), normal(8, CLASSES, 4)
TABLE = normal(9, CLASSES, WIDTH)


def plain_sinkhorn(s, w):
    q = prototypes.sinkhorn(scores(*TEACHER), 0.5, 3, WEIGHTS > 0)
    return prototypes.prototype_cross_entropy(scores(s, w), q, 0.3, WEIGHTS)


def plain_centred(s, w):
    q = prototypes.centred_softmax(scores(*TEACHER), CENTRE, 0.4)
    return prototypes.prototype_cross_entropy(scores(s, w), q, 0.3)


def single(*arrays):
    return [jnp.asarray(a, jnp.float32) for a in arrays]


# name -> (arguments that are differentiated, plain form, streamed form)
LOSSES = {
    "nt_xent": (pair(), lambda u, v: contrastive.nt_xent(u, v, 0.2), lambda m, u, v: streamed.nt_xent(u, v, 0.2, m)),
    "two_way": (
        (*pair(), np.float64(0.1)), contrastive.two_way_info_nce, lambda m, u, v, t: streamed.two_way_info_nce(u, v, t, m)
    ),
    "one_way": ((*pair(), np.float64(0.1)), contrastive.info_nce, lambda m, u, v, t: streamed.info_nce(u, v, t, m)),
    "sigmoid": (
        (*pair(), np.float64(5.0), np.float64(-3.0)), contrastive.sigmoid_pairwise,
        lambda m, u, v, s, b: streamed.sigmoid_pairwise(u, v, s, b, m),
    ),
    "two_way_distinct": (
        (*pair(), np.float64(0.1)), lambda u, v, t: contrastive.two_way_info_nce(u, v, t, SAME),
        lambda m, u, v, t: streamed.two_way_info_nce(u, v, t, m, jnp.asarray(SAME)),
    ),
    "sigmoid_distinct": (
        (*pair(), np.float64(5.0), np.float64(-3.0)), lambda *a: contrastive.sigmoid_pairwise(*a, SAME),
        lambda m, *a: streamed.sigmoid_pairwise(*a, m, jnp.asarray(SAME)),
    ),
    "passages": (
        (pair()[0], normal(1, ROWS, 3, WIDTH)), lambda q, p: contrastive.passage_info_nce(q, p, 0.5, 1.5, TWINS),
        lambda m, q, p: streamed.passage_info_nce(q, p, 0.5, 1.5, jnp.asarray(TWINS), m),
    ),
    "sinkhorn": (
        (pair()[0], TABLE), plain_sinkhorn,
        lambda m, s, w: classes.sinkhorn_prototypes(s, w, *single(*TEACHER), 0.3, 0.5, 3, *single(WEIGHTS), m),
    ),
    "centred": (
        (pair()[0], TABLE), plain_centred,
        lambda m, s, w: classes.centred_prototypes(s, w, *single(*TEACHER, CENTRE), 0.3, 0.4, None, m),
    ),
    "vocabulary": (
        (pair()[0], TABLE, CENTRE), lambda h, t, b: vocabulary.linear_softmax_cross_entropy(h, t, LABELS, b, WEIGHTS),
        lambda m, h, t, b: classes.linear_softmax_cross_entropy(h, t, jnp.asarray(LABELS), b, *single(WEIGHTS), m),
    ),
    "told": (
        (pair()[0], TABLE, CENTRE), lambda h, t, b: vocabulary.linear_told_words(h, t, LABELS, b, WEIGHTS, 0.1).loss,
        lambda m, h, t, b: classes.linear_told_words(h, t, jnp.asarray(LABELS), b, *single(WEIGHTS), 0.1, m).loss,
    ),
}  # fmt: skip


def exact(name):
    """Value and gradient of the plain form in float64."""
    arguments, plain, _ = LOSSES[name]
    with jax.enable_x64(True):
        every = tuple(range(len(arguments)))
        value, gradient = jax.jit(jax.value_and_grad(lambda *a: plain(*a).value, every))(*map(jnp.asarray, arguments))
        return float(value), [np.asarray(g) for g in gradient]


def check(name, method, sizes):
    arguments, _, loss = LOSSES[name]
    value, gradient = exact(name)
    with jax.set_mesh(make_mesh(*sizes, jax.devices()[: np.prod(sizes)])) if sizes else nullcontext():
        ours = jax.jit(jax.value_and_grad(lambda *a: loss(method, *a).value, tuple(range(len(arguments)))))
        our_value, our_gradient = ours(*single(*arguments))
    assert abs(float(our_value) - value) <= 1e-5 * abs(value)
    norm = np.sqrt(sum(float(np.sum(np.square(g))) for g in gradient))
    for mine, theirs in zip(our_gradient, gradient, strict=True):
        assert np.max(np.abs(np.asarray(mine, np.float64) - theirs)) <= 1e-5 * norm


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_are_those_of_the_plain_form_in_float64(name):
    check(name, "local", None)
    check(name, "ring", MESHES["8"])
    check(name, "hierarchical", MESHES["2x4"])


def test_words_over_the_tensor_axis_are_told_as_those_of_one_device():
    check("told", "hierarchical", (2, 2, 2))
    check("vocabulary", "local", (1, 1, 8))
    arguments = single(pair()[0], TABLE, CENTRE)
    weights = single(WEIGHTS)[0]
    plain = vocabulary.linear_told_words(*arguments[:2], LABELS, arguments[2], weights, 0.1)
    with jax.set_mesh(make_mesh(2, 1, 4)):
        table = jax.device_put(arguments[1], jax.NamedSharding(jax.sharding.get_mesh(), jax.P("tensor")))
        told = jax.jit(
            lambda t: classes.linear_told_words(arguments[0], t, LABELS, arguments[2], weights, 0.1, "local")
        )
        ours = told(table)
        text = told.lower(table).compile().as_text()
    assert np.array_equal(ours.guess, plain.guess)
    for mine, theirs in zip(jax.tree.leaves(ours[:3]), jax.tree.leaves(plain[:3]), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)
    assert f"f32[{CLASSES},{WIDTH}]" not in text  # no device ever has the whole table


def every_placement():
    """(loss, method, mesh) of all that exist: embeddings are never whole on each device, and classes have to divide."""
    for name, method, sizes in itertools.product(LOSSES, METHODS, [(8, 1), (1, 8), (2, 4), (4, 2), (2, 2, 2), (3, 2)]):
        table = name in ("sinkhorn", "centred", "vocabulary", "told")
        exists = (method != "local" or table) and (method != "hierarchical" or 1 not in sizes[:2])
        divides = not table or method in ("auto", "plain", "local") or CLASSES % (sizes[0] * sizes[1]) == 0
        if exists and divides:
            yield name, method, (*sizes, 1)[:3]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method", "sizes"), every_placement())
def test_value_and_gradient_on_every_mesh_and_placement(name, method, sizes):
    check(name, method, sizes)


def products(graph):
    """The types that each product of a graph multiplies."""
    for node in graph.nodes:
        if node.name == "dot_general":
            yield {v.aval.dtype for v in node.eqn.invars}
        for body in node.bodies:
            yield from products(body)


def test_the_gradient_of_a_vocabulary_is_multiplied_in_half_precision_where_states_are():
    """Slopes are float32; a sixth of the FLOPs of a small GPT were. The gradient is that of float32 but for rounding."""
    rows, table = (jnp.asarray(x, jnp.bfloat16) for x in (normal(0, ROWS, 16), normal(1, CLASSES, 16)))

    def loss(rows, table):
        mean = classes.linear_told_words(rows, table, jnp.asarray(LABELS), method="gather").loss
        return mean.total / mean.weight

    both = jax.grad(loss, argnums=(0, 1))
    with jax.set_mesh(make_mesh(8)):
        assert set().union(*products(graph_of(jax.make_jaxpr(both)(rows, table)))) == {jnp.dtype("bfloat16")}
        found, exact = both(rows, table), both(rows.astype(jnp.float32), table.astype(jnp.float32))
    for ours, theirs in zip(found, exact, strict=True):
        np.testing.assert_allclose(np.float32(ours), theirs, atol=2e-2 * float(jnp.abs(theirs).max()))
