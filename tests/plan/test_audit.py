"""An audit counts what a program does as often as it does it, by the parts of the step that named it."""

import jax
import jax.numpy as jnp
import pytest

from ssl_jax.cli import main
from ssl_jax.devices.mesh import make_mesh
from ssl_jax.plan import aot
from ssl_jax.plan.audit import audit, scope_of
from ssl_jax.plan.audit_table import as_lines
from ssl_jax.plan.chips import CHIPS
from ssl_jax.plan.estimate import parameters, traced
from ssl_jax.plan.flops import flops
from ssl_jax.plan.hlo import program_of, runs
from ssl_jax.plan.overlap import exchanges
from ssl_jax.plan.problem import lowered, problem
from ssl_jax.plan.products import products
from ssl_jax.plan.summary import ONE_DEVICE
from ssl_jax.plan.traffic import traffic
from ssl_jax.recipe import load

H100 = CHIPS["h100"]
LAYERS, ROWS, WIDTH = 5, 16, 64


def test_a_loop_with_recomputation_is_counted_as_often_as_it_runs():
    def loss(w, x):
        def layer(h, w):
            return jnp.tanh(h @ w), None

        with jax.named_scope("forward"):
            return jax.lax.scan(jax.checkpoint(layer), x, w)[0].sum()

    arrays = jnp.ones((LAYERS, WIDTH, WIDTH)), jnp.ones((ROWS, WIDTH))
    found = audit(jax.jit(jax.grad(loss)).lower(*arrays).compile().as_text(), H100)
    rows, once = {r.scope: r for r in found.rows}, 2.0 * LAYERS * ROWS * WIDTH * WIDTH
    assert rows["forward"].flops == {"f32": once}
    assert rows["backward"].flops == {"f32": 3 * once}, "again, and the gradients of both operands"
    assert rows["backward"].replayed == once
    assert found.total.computing == pytest.approx(4 * once / H100.rate("f32"))
    assert found.seconds >= found.total.bytes / H100.bandwidth > 0


# What compilers for chips write, cut to its conventions.
# ruff: noqa: E501
CHIP = """HloModule step, is_scheduled=true

FileNames
1 "/home/me/lib/flax/module.py"
2 "/home/me/ssl_jax/models/rows.py"

FileLocations
1 {file_name_id=1 function_name_id=1 line=7}
2 {file_name_id=2 function_name_id=1 line=191}

StackFrames
1 {file_location_id=2 parent_frame_id=1}
2 {file_location_id=1 parent_frame_id=2}

%layer_of (p: bf16[24,8,4], i: s32[]) -> bf16[8,4] {
  %p = bf16[24,8,4]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %piece = bf16[1,8,4]{2,1,0} dynamic-slice(%p, %i, %z, %z), dynamic_slice_sizes={1,8,4}
  ROOT %flat = bf16[8,4]{1,0} bitcast(%piece)
}

%into_stack (s: bf16[24,8,4], x: bf16[8,4], j: s32[]) -> bf16[24,8,4] {
  %s = bf16[24,8,4]{2,1,0} parameter(0)
  %x = bf16[8,4]{1,0} parameter(1)
  %j = s32[] parameter(2)
  %one = bf16[1,8,4]{2,1,0} bitcast(%x)
  ROOT %put = bf16[24,8,4]{2,1,0} dynamic-update-slice(%s, %one, %j, %z, %z)
}

%outer (q: bf16[24,8,4], k: s32[]) -> bf16[8,4] {
  %q = bf16[24,8,4]{2,1,0} parameter(0)
  %k = s32[] parameter(1)
  ROOT %inner = bf16[8,4]{1,0} fusion(%q, %k), kind=kLoop, calls=%layer_of
}

%best_of (v: f32[32,4]) -> ((f32[32], s32[32]), f32[32]) {
  %v = f32[32,4]{1,0} parameter(0)
  %best = (f32[32]{0}, s32[32]{0}) reduce(%v, %at, %low, %no), dimensions={1}, to_apply=%larger
  %sum = f32[32]{0} reduce(%v, %no), dimensions={1}, to_apply=%add
  ROOT %both = ((f32[32]{0}, s32[32]{0}), f32[32]{0}) tuple(%best, %sum)
}

ENTRY %main (w: bf16[24,8,4], n: s32[], h: bf16[16,8], a: bf16[784,768], b: bf16[768,1024]) -> bf16[16,4] {
  %w = bf16[24,8,4]{2,1,0} parameter(0)
  %n = s32[] parameter(1)
  %h = bf16[16,8]{1,0} parameter(2)
  %a = bf16[784,768]{1,0} parameter(3)
  %b = bf16[768,1024]{1,0} parameter(4)
  %start = f32[100]{0} all-reduce-start(%n), replica_groups={{0,1}}, to_apply=%add
  %kernel = bf16[8,4]{1,0:T(8,128)S(1)} fusion(%w, %n), kind=kLoop, calls=%outer
  %gemm = (bf16[16,4]{1,0}, s8[64]{0}) custom-call(%h, %kernel), custom_call_target="__cublas$lt$matmul", metadata={op_name="jit(step)/jvp(loss)/forward/ViT/fc1/dot_general" stack_frame_id=2}, backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}}
  %done = f32[100]{0} all-reduce-done(%start)
  %waits = f32[100]{0} all-reduce(%done), replica_groups={{0,1}}, to_apply=%add
  %stacked = bf16[24,8,4]{2,1,0} fusion(%w, %kernel, %n), kind=kLoop, calls=%into_stack
  %embedded = bf16[784,1024]{1,0} convolution(%a, %b), dim_labels=bf_io->bf
  %heads = bf16[16,16,64,50]{3,2,1,0} convolution(%left, %right), window={size=16x16 stride=15x15 lhs_dilate=16x16}, dim_labels=0f1b_01oi->01bf
  %scores = f32[32,4]{1,0} copy(%n)
  %told = ((f32[32]{0}, s32[32]{0}), f32[32]{0}) fusion(%scores), kind=kInput, calls=%best_of
  %left = f32[16,50,16,64]{3,2,1,0} copy(%n)
  %right = f32[16,16,50,50]{3,2,1,0} copy(%n)
  ROOT %out = bf16[16,4]{1,0} get-tuple-element(%gemm), index=0
}
"""


def test_products_and_bytes_of_chips_are_read():
    program = program_of(CHIP)
    found = {run.instruction.name: run for run in runs(program)}
    piece = 8 * 4 * 2

    def size(name):
        return traffic(program, "main", found[name].instruction)

    assert size("kernel") == piece + 4, "a slice is read, inside a fusion of a fusion, and written to the chip's memory"
    assert size("stacked") == piece + 4, "the operand on the chip costs nothing, and a part is written in place"
    assert size("gemm") == 16 * 8 * 2 + 16 * 4 * 2 + 64
    assert size("told") == 32 * 4 * 4 + 3 * 32 * 4, "a largest value and its place are one result of two arrays"
    assert size("done") == size("out") == 0
    work = {name: products(program, "main", run.instruction) for name, run in found.items()}
    assert work["gemm"] == {"bf16": 2.0 * 16 * 8 * 4}
    assert work["embedded"] == {"bf16": 2.0 * 784 * 768 * 1024}
    assert work["heads"] == {"f32": 2.0 * 16 * 16 * 50 * 64 * 50}, "spread out with zeros, which meet no input"
    assert program.line(found["gemm"].instruction) == "ssl_jax/models/rows.py:191"


def test_what_hides_a_collective_stands_between_its_start_and_its_end():
    (found,) = exchanges(program_of(CHIP), lambda run: float(run.instruction.name in ("kernel", "gemm", "embedded")))
    assert (found.operation, found.count, found.asynchronous, found.covered) == ("all-reduce", 2, 1, 1)
    assert found.beside == 2.0


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("jit(train_step)/jvp(augment)/vmap(jit(_uniform))/max", "augment"),
        ("jit(train_step)/jvp(loss)/forward/ViT/transpose", "forward"),
        ("jit(train_step)/jvp(loss)/reduce_sum", "loss"),
        ("jit(train_step)/transpose(jvp(loss))/forward/ViT/dot_general", "backward"),
        ("jit(train_step)/jvp(loss)/teacher/forward/ViT/dot_general", "teacher"),
        ("jit(train_step)/update/teacher/mul", "update"),
        ("jit(dynamic_update_slice)/add", "other"),
    ],
)
def test_scopes_are_read_from_the_names_of_jax(name, scope):
    assert scope_of(name) == scope


def test_every_product_of_a_recipe_belongs_to_a_part_and_the_update_is_one_pass():
    posed = problem(load("mae_vit_fashion:tiny", []))
    found = audit(lowered(posed, make_mesh(1, 1, devices=jax.devices()[:1])).compile().as_text(), H100)
    rows = {r.scope: r for r in found.rows}
    done = {scope: sum(r.flops.values()) for scope, r in rows.items()}
    assert done["backward"] == pytest.approx(2 * done["forward"], rel=0.02)
    assert done["update"] == 0
    assert done["other"] < 0.01 * sum(done.values()), "sums over rows, whose names the compiler of CPUs loses"
    assert sum(done.values()) == pytest.approx(flops(traced(posed, ONE_DEVICE, posed.state())), rel=0.01)
    least = (3 + 2 * 2) * 4 * sum(parameters(posed.state().params).values())
    assert rows["update"].bytes < 2 * least, "a CPU's compiler makes one pass for each result; chips' make one for all"
    assert all("GB" in line for line in as_lines(found)[-len(found.worst) :])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--audit", "--no-compile"], "left out by --no-compile"),
        (["--audit"], "ssl_jax[cuda]"),
        (["--picture=a.svg"], "give both"),
    ],
)
def test_an_audit_that_cannot_be_made_is_refused_before_any_work(flags, said, monkeypatch, capsys):
    monkeypatch.setattr(aot, "cuda_plugin_installed", lambda: False)
    assert main(["plan", "--config", "mae_vit_fashion:tiny", "--devices", "1", *flags]) == 2
    assert said in capsys.readouterr().err
