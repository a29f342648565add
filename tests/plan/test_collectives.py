"""Collectives are read from HLO as they run: loops multiplied out, each once, with the bytes that the formulas say."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ssl_jax.devices.mesh import make_mesh
from ssl_jax.plan.collectives import collectives, counts, wire_factor
from ssl_jax.plan.estimate import parameters
from ssl_jax.plan.problem import problem
from ssl_jax.plan.summary import ONE_DEVICE, step_collectives, summary
from ssl_jax.recipe import load, recipes

DATA = Path(__file__).parents[1] / "data"
LAYERS, WIDTH, BATCH = 5, 64, 16


def test_a_toy_under_fsdp_moves_what_the_formula_says():
    """Weights gathered in the forward and again in the backward scan; each gradient summed over all devices."""
    mesh = make_mesh(1, 8)
    weights, rows = NamedSharding(mesh, P(None, None, "fsdp")), NamedSharding(mesh, P("fsdp", None))

    def loss(w, x):
        def body(h, w):
            w = jax.lax.with_sharding_constraint(w, P())
            return jax.lax.with_sharding_constraint(jnp.tanh(h @ w), P("fsdp", None)), None

        return jax.lax.scan(jax.checkpoint(body), x, w)[0].sum()

    with jax.set_mesh(mesh):
        step = jax.jit(jax.grad(loss), in_shardings=(weights, rows), out_shardings=weights)
        args = (
            jax.ShapeDtypeStruct((LAYERS, WIDTH, WIDTH), jnp.float32),
            jax.ShapeDtypeStruct((BATCH, WIDTH), jnp.float32),
        )
        found, unread = collectives(step.lower(*args).compile().as_text())
    assert unread == []
    layer = 4 * WIDTH * WIDTH
    gathered = {c["operation"]: c for c in found}
    assert gathered["all-gather"]["count"] == 2 * LAYERS
    assert gathered["all-gather"]["payload"] == 2 * LAYERS * layer
    assert gathered["all-gather"]["wire"] == 2 * LAYERS * layer * 7 / 8
    summed = sum(c["payload"] for c in found if c["operation"] in ("all-reduce", "reduce-scatter"))
    assert summed == LAYERS * layer


# What the TPU compiler writes, cut to its conventions.
TPU = """HloModule jit_step

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %ar.1 = f32[16,4]{1,0} all-reduce(%x), channel_id=1, replica_groups=[4,4]<=[16], to_apply=%add
  %async-collective-start.2 = (bf16[8], bf16[128]) fusion(%w), kind=kCustom, calls=%gather_start
  %async_collective_fusion.3 = bf16[4] fusion(%w), kind=kCustom, calls=%gather_step
  %rs.4 = f32[32] fusion(%g), kind=kCustom, calls=%all-reduce-scatter.9
}

%condition (p: (s32[], f32[8])) -> pred[] {
  %bound = s32[]{:T(128)} constant(24)
  %less = pred[] compare(%i, %bound), direction=LT
}

%gather_start (w: bf16[8]) -> (bf16[8], bf16[128]) {
  %ag.5 = bf16[128]{0} all-gather(%w), replica_groups=mesh['a'=4,'b'=16] {'b'}, dimensions={0}
}

%gather_step (w: bf16[8]) -> bf16[4] {
  %ag.6 = bf16[128]{0} all-gather(%w), replica_groups=mesh['a'=4,'b'=16] {'b'}, dimensions={0}
}

%all-reduce-scatter.9 (g: f32[128]) -> f32[32] {
  %ar.7 = f32[128]{0} all-reduce(%g), replica_groups={{0,1,2,3}}, to_apply=%add
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %loop = (s32[], f32[8]) while(%t), condition=%condition, body=%body
  %permute = (f32[10], f32[10], u32[], u32[]) collective-permute-start(%a), source_target_pairs={{0,1},{1,0}}
  %gather = (f32[2], f32[8]{0}) all-gather-start(%a), replica_groups={{0,1,2,3}}, dimensions={0}
  %alone = f32[8] all-reduce(%a), replica_groups={{0},{1}}, to_apply=%add
  %odd = f32[8] all-reduce(%a), to_apply=%add
}
"""


def test_conventions_of_the_tpu_compiler_are_read():
    found, unread = collectives(TPU)
    read = {(c["operation"], c["group"]): (c["count"], c["payload"]) for c in found}
    assert read == {
        ("all-reduce", 4): (24, 24 * 256),
        ("all-gather", 16): (24, 24 * 256),  # the start, not the steps
        ("reduce-scatter", 4): (24, 24 * 512),  # a fusion around an all-reduce
        ("collective-permute", 2): (1, 40),
        ("all-gather", 4): (1, 32),
    }
    assert unread == ["odd: groups"]  # reported, not guessed
    assert counts(found) == {"all-reduce": 24, "all-gather": 25, "reduce-scatter": 24, "collective-permute": 1}
    assert wire_factor("all-reduce", 4) == 2 * wire_factor("reduce-scatter", 4) == 1.5


# A loop that ends when its data say so.
UNBOUNDED = """HloModule jit_step

%body (p: (s32[8])) -> (s32[8]) {
  %more = s32[8] add(%x, %one)
}

%condition (p: (s32[8])) -> pred[] {
  %some = pred[] all-reduce(%less), replica_groups={{0,1,2,3}}, to_apply=%or
}

%alone (p: (s32[8])) -> pred[] {
  %less = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (a: s32[8]) -> s32[8] {
  %loop = (s32[8]) while(%t), condition=%CONDITION, body=%body
}
"""


def test_a_loop_whose_end_depends_on_data_is_reported_only_where_it_communicates():
    assert collectives(UNBOUNDED.replace("CONDITION", "alone")) == ([], [])
    found, unread = collectives(UNBOUNDED.replace("CONDITION", "condition"))
    assert unread == ["loop: trip count"]
    # With a known count, the condition is asked once more than the body runs.
    counted = UNBOUNDED.replace("CONDITION, body=%body", 'condition, body=%body, {"known_trip_count":{"n":"3"}}')
    found, unread = collectives(counted)
    assert (counts(found), unread) == ({"all-reduce": 4}, [])


BRANCHES = """HloModule jit_step

%gather (p: f32[2]) -> f32[8] {
  %all = f32[8] all-gather(%p), replica_groups={{0,1,2,3}}, dimensions={0}
}

%zeros (p: f32[2]) -> f32[8] {
  %none = f32[8] broadcast(%zero), dimensions={}
}

ENTRY %main (a: f32[2]) -> f32[8] {
  %either = f32[8] conditional(%which, %a, %a), branch_computations={%gather, %OTHER}
}
"""


def test_the_branch_that_communicates_is_counted_and_two_of_them_are_reported():
    found, unread = collectives(BRANCHES.replace("OTHER", "zeros"))
    assert (counts(found), unread) == ({"all-gather": 1}, [])
    assert collectives(BRANCHES.replace("OTHER", "gather"))[1] == ["either: branches"]


FAST = {"mae_vit_fashion"}  # the others are compiled by tools/test --all
TRACED = {"mae_vit_fashion", "simclr_conv_fashion", "dinov2_vit_fashion", "mae_vitl_in1k"}


def steps():
    for recipe in recipes():
        marks = () if recipe.name in FAST else pytest.mark.slow
        for axis in ("data", "fsdp"):
            yield pytest.param(recipe.name, axis, marks=marks)


@pytest.mark.parametrize(("name", "axis"), steps())
def test_no_collective_appears_that_nobody_intended(name, axis):
    """The snapshot is of one jax version; under any, what moves is a few times the parameters and no activations."""
    posed = problem(load(f"{name}:tiny", []))
    found = step_collectives(posed, make_mesh(8) if axis == "data" else make_mesh(1, 8))
    known = json.loads((DATA / "collectives.json").read_text()).get(jax.__version__)
    if known is not None:
        assert found == known[f"{name}:tiny {axis}"], "intended? then run tools/summaries"
    weights = 4 * sum(parameters(posed.state().params).values())
    embeddings = 10_000 if name in FAST else 1_000_000  # metrics; BatchNorm sums, negatives and prototypes
    assert sum(payload for _, payload in found.values()) <= 4 * weights + embeddings


@pytest.mark.parametrize(
    "name", [pytest.param(r.name, marks=() if r.name in TRACED else pytest.mark.slow) for r in recipes()]
)
def test_recipes_have_the_sizes_and_cost_that_were_checked_in(name):
    known = json.loads((DATA / "recipes.json").read_text())
    assert summary(problem(load(name, []))) == known[name], "intended? then run tools/summaries"


def test_every_recipe_has_a_summary_and_no_other():
    names = {r.name for r in recipes()}
    assert set(json.loads((DATA / "recipes.json").read_text())) == names
    steps = {f"{n}:tiny {axis}" for n in names for axis in ONE_DEVICE if axis != "tensor"}
    for table in json.loads((DATA / "collectives.json").read_text()).values():
        assert set(table) <= steps
