"""`tools/benchmark`: phases are the step, figures follow from their definitions, peers that differ are not timed."""

import json
import math
import os
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np
import pytest

from ssl_jax.benchmark import machine as machine_module
from ssl_jax.benchmark import phases
from ssl_jax.benchmark import run as benchmark
from ssl_jax.benchmark.cases import SMALL, Size, posed
from ssl_jax.benchmark.machine import Machine, datasheet
from ssl_jax.benchmark.measure import model_flops, random_batch
from ssl_jax.benchmark.peers.compare import SIZES, Worker, check_same, compare, peer_versions, ratios
from ssl_jax.benchmark.report import as_text
from ssl_jax.benchmark.run import Settings, chosen, run
from ssl_jax.benchmark.timing import Reading, alternate, summary
from ssl_jax.benchmark.waiting import decoded, pictures
from ssl_jax.errors import UserError
from ssl_jax.plan.chips import CHIPS
from ssl_jax.plan.problem import problem
from ssl_jax.recipe import load
from ssl_jax.training.step import apply_gradient, init_state, value_and_gradient

ROOT = Path(__file__).parents[2]
LEAST = Size(image=32, local=16, prototypes=64, decoder=(32, 1, 2), batch=1, dtype="float32")
MACHINE = Machine(
    "gpu", "NVIDIA H100 80GB HBM3", 2, "bfloat16", "wall", matmul=500e12, copy=2e12, datasheet=CHIPS["h100"]
)


def test_one_wrong_reading_does_not_make_a_machine_fast(monkeypatch):
    readings = iter([Reading(1.0, 1.0), Reading(1e-4, 1e-4), *[Reading(1.0, 1.0)] * 5] * 2)
    monkeypatch.setattr(machine_module, "timed", lambda call: (call(), next(readings))[1])
    monkeypatch.setattr(machine_module, "SIZES", {"cpu": (8, 1024)})
    found = machine_module.measure_machine("float32")
    assert (found.matmul, found.copy) == (2 * 8**3, 2 * 1024)


@pytest.mark.parametrize(
    "name",
    ["dino_vit_fashion", *(pytest.param(f"{n}_fashion", marks=pytest.mark.slow) for n in ("mae_vit", "simclr_conv"))],
)
def test_the_phases_one_after_the_other_give_the_gradient_of_the_step(name):
    """The update is the step's own function, so nothing else is left to compare."""
    setting = problem(load(f"{name}:tiny", ["--config.batch_size=8"]))
    setup, batch = setting.setup, random_batch(setting)
    calls = phases.functions(setup)
    assert tuple(calls) == phases.PHASES
    assert calls["update"].func is apply_gradient

    def both(state):
        chained, _ = phases.chained(calls | {"update": lambda _, out, gradient: (out, gradient)}, state, batch)
        return value_and_gradient(setup, state, batch), chained

    state = jax.jit(partial(init_state, setup))(batch)
    (expected, gradient), (found, found_gradient) = jax.jit(both)(state)
    assert float(found.total()) == pytest.approx(float(expected.total()), rel=1e-6)
    assert jax.tree.structure((found, found_gradient)) == jax.tree.structure((expected, gradient))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), gradient, found_gradient)


@pytest.mark.parametrize(("objective", "sizes"), [("mae", [32]), ("simclr", [32]), ("dino", [32, 16])])
def test_recipes_take_the_encoder_and_the_sizes_asked_for(objective, sizes):
    setting = posed(objective, "Ti", "unroll", LEAST, 2)
    encoder = setting.setup.objective.encoder
    assert (encoder.width, encoder.depth, encoder.heads, encoder.remat, encoder.unroll) == (192, 12, 3, "none", 64)
    state = setting.state()
    views, _ = jax.eval_shape(setting.setup.views, state, setting.batch)
    assert [v.shape[2:] for v in views.values() if v.ndim == 5] == [(n, n, 3) for n in sizes]
    assert {x.shape[2:] for x in setting.batch.values() if x.ndim == 5} == {
        (n, n, 3) for n in sizes
    }  # cropped on the host
    assert state.params["encoder"]["transformer"]["blocks"]["fc1"]["bias"].shape == (12, 768)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"steps": 0}, "--steps 0"), ({"batch": -1}, "--batch -1"), ({"peers": ["mae"]}, "--peers mae: unknown")],
)
def test_options_that_make_no_sense_are_the_users_to_fix(options, message):
    with pytest.raises(UserError, match=message):
        chosen(options)
    with pytest.raises(UserError, match="--objectives byol: unknown"):
        posed("byol", "Ti", "scan", LEAST, 2)


def test_a_run_that_is_stopped_leaves_the_cases_that_were_measured(monkeypatch, tmp_path):
    def case(settings, machine, objective, model):
        if objective == "dino":
            raise KeyboardInterrupt
        return {"objective": objective}

    monkeypatch.setattr(benchmark, "measure_machine", lambda dtype: None)
    monkeypatch.setattr(benchmark, "description", lambda machine: {})
    monkeypatch.setattr(benchmark, "_case", case)
    with pytest.raises(KeyboardInterrupt):
        run(Settings(("Ti",), ("mae", "dino"), ("scan",), LEAST, steps=1, threads=0), tmp_path / "speed.json")
    assert json.loads((tmp_path / "speed.json").read_text())["cases"] == [{"objective": "mae"}]


def test_an_objective_that_cannot_be_taken_apart_is_refused():
    with pytest.raises(UserError, match="IJEPA cannot be taken apart"):
        phases.halves(problem(load("ijepa_vit_fashion:tiny")).setup.objective)


def check_result(out, variant):
    result = json.loads(out.read_text(), parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))
    (case,) = result["cases"]
    assert set(case["phases"]) == set(phases.PHASES)
    for row in (*case["phases"].values(), *case["variants"].values()):
        assert row["seconds"]["wall"]["median"] > 0
    step = case["variants"][variant]
    assert step["examples_per_second"] == pytest.approx(case["batch"] / step["seconds"]["cpu"]["median"])
    assert math.isfinite(step["loss"])
    assert step["memory"]["temporaries"] > 0
    assert case["phases"]["forward"]["flops"] > case["phases"]["augmentation"]["flops"]
    assert 0 <= case["data"]["share"] <= 1
    assert result["versions"]["jax"] == jax.__version__
    assert result["hardware"]["peak_from"] == "measured matrix product"
    assert os.uname().nodename not in out.read_text().split('"')
    assert str(ROOT) not in out.read_text()


def test_every_phase_and_figure_is_written_as_json(tmp_path, monkeypatch, capsys):
    tiny = problem(load("mae_vit_fashion:tiny", ["--config.batch_size=8"]))
    machine = Machine("cpu", "cpu", 8, "float32", "cpu", matmul=50e9, copy=5e9)
    monkeypatch.setattr("ssl_jax.benchmark.run.posed", lambda *_: tiny)
    monkeypatch.setattr("ssl_jax.benchmark.run.measure_machine", lambda _: machine)
    monkeypatch.setattr("ssl_jax.benchmark.run.measure_waiting", lambda *_: {"share": 0.25, "threads": 0})
    run(Settings(("Ti",), ("mae",), ("scan",), LEAST, steps=1, threads=0), tmp_path / "speed.json")
    check_result(tmp_path / "speed.json", "scan")
    shown = capsys.readouterr().out
    assert "waits for data 25% of the time" in shown
    assert all(name in shown for name in phases.PHASES)


@pytest.mark.slow
def test_the_command_measures_a_vit_from_pictures_to_json(tmp_path):
    settings = Settings(("Ti",), ("mae",), ("scan+full",), LEAST, steps=1, threads=0)
    run(settings, tmp_path / "speed.json")
    check_result(tmp_path / "speed.json", "scan+full")


def test_utilisation_and_floor_by_known_answer():
    assert MACHINE.utilisation(2 * 989e12, seconds=4.0) == pytest.approx(0.25)
    assert MACHINE.peak_source == "data sheet"
    assert MACHINE.roofline(flops=1e15, size=1e12).floor == pytest.approx(1.0)  # 1e15 FLOPs on two devices of 500e12/s
    assert MACHINE.roofline(flops=1e15, size=8e12).bound == "memory"
    slow = Machine("cpu", "cpu", 1, "float32", "cpu", matmul=50e9, copy=5e9)
    assert slow.utilisation(25e9, seconds=1.0) == pytest.approx(0.5)
    assert slow.peak_source == "measured matrix product"


@pytest.mark.parametrize(
    ("kind", "chip"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("TPU v5 lite", "v5e"),
        ("TPU v4", "v4"),
        ("cpu", None),
    ],
)
def test_device_kinds_are_recognised(kind, chip):
    assert getattr(datasheet(kind), "name", None) == chip


def test_model_flops_of_mae_by_hand_and_without_recomputation():
    """3 (encoder on a quarter of the patches + decoder on all), 24 n D^2 + 4 n^2 D for a block; S/16 at 112 pixels."""

    def blocks(depth, tokens, width):
        return depth * (24 * tokens * width**2 + 4 * tokens**2 * width)

    kept, patches = 13, 50  # with the class token
    pixels = 16 * 16 * 3
    forward = blocks(12, kept, 384) + blocks(8, patches, 512) + 2 * kept * 384 * 512 + 2 * patches * 512 * pixels
    embedding = 2 * (kept - 1) * pixels * 384
    by_hand = 4 * (3 * forward + 2 * embedding)  # pixels need no gradient
    assert model_flops(posed("mae", "S", "scan+full", SMALL, 4)) == pytest.approx(by_hand, rel=0.01)


def test_turns_start_with_another_one_each_round():
    order = []

    def call(name):
        order.append(name)
        return Reading(float(len(order)), 0.0)

    readings = alternate({name: partial(call, name) for name in "ab"}, rounds=3)
    assert "".join(order) == "abbaab"
    assert summary(readings["a"])["wall"] == {"median": 4.0, "least": 1.0, "most": 5.0}


def test_pictures_for_the_pipeline_have_the_size_asked_for():
    with pictures(24, count=2) as source:
        assert source[1]["image"].shape == (24, 24, 3)
        assert "label" in source[1]


# --- peers


def test_peers_that_compute_something_else_are_refused():
    ours = [1.0, 0.9, 0.8]
    agreed = check_same(ours, {"torch eager": [1.0, 0.90001, 0.8]}, tolerance=1e-4)
    assert agreed["torch eager"] == pytest.approx(1e-5 / 0.9)
    for planted in ([1.0, 0.9, 0.801], [1.0, 0.9, float("nan")]):
        with pytest.raises(UserError, match="torch eager computes something else"):
            check_same(ours, {"torch eager": planted}, tolerance=1e-4)


class Pretender:
    """Stands for a child process: losses as planned by its name, no time."""

    timed_sides: ClassVar[list[str]] = []

    def __init__(self, python, script, spec, environment):
        self.name = spec["name"]
        assert (script == "torch_mae.py") == self.name.startswith("torch")
        assert spec["cpu"] in os.sched_getaffinity(0)
        assert environment["OMP_NUM_THREADS"] == "1"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def train(self, steps):
        if self.name == "torch compile":
            raise UserError("no C++ compiler")
        off = 1e-3 if self.name == self.planted else 0.0
        return {"losses": [1.0, 0.9, 0.8 + off], "wall": 3.0, "cpu": 3.0}

    def timed(self, steps):
        self.timed_sides.append(self.name)
        return Reading(1.0, 2.0 if self.name == "torch eager" else 4.0)


@pytest.mark.parametrize("planted", ["torch eager", "jax unroll", None])
def test_nothing_is_timed_before_all_sides_agree(monkeypatch, planted):
    monkeypatch.setattr(Pretender, "planted", planted, raising=False)
    monkeypatch.setattr(Pretender, "timed_sides", [])
    monkeypatch.setattr("ssl_jax.benchmark.peers.compare.Worker", Pretender)
    monkeypatch.setattr("ssl_jax.benchmark.peers.compare.peer_versions", lambda python: {"torch": "2", "timm": None})
    if planted:
        with pytest.raises(UserError, match=f"{planted} computes something else"):
            compare("mae_small", rounds=2, steps=1)
        assert Pretender.timed_sides == []
        return
    found = compare("mae_small", rounds=2, steps=1)
    assert found["ratios"]["torch eager"]["jax scan"]["median"] == 0.5  # the peer wins, and it says so
    assert found["failed"] == {"torch compile": "no C++ compiler"}
    assert found["rows"]["torch eager"]["examples_per_second"] == pytest.approx(8 / 2.0)


def test_ratios_are_of_the_same_round():
    readings = {"jax scan": [Reading(1, 1), Reading(4, 4)], "torch eager": [Reading(2, 2), Reading(8, 8)]}
    assert ratios(readings, "cpu")["torch eager"]["jax scan"] == {"median": 2.0, "least": 2.0, "most": 2.0}


def test_an_interpreter_without_torch_is_the_users_to_fix(tmp_path):
    bare = tmp_path / "python"
    bare.write_text('#!/bin/sh\necho \'{"torch": null, "timm": null}\'\n')
    bare.chmod(0o755)
    with pytest.raises(UserError, match="--torch-python"):
        peer_versions(str(bare))
    with pytest.raises(UserError, match="cannot be run"):
        peer_versions(str(tmp_path / "nowhere"))


def test_the_library_and_the_benchmark_import_no_torch():
    program = "import sys, ssl_jax.benchmark.run, ssl_jax.training.run; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
    importing = [p for p in (ROOT / "ssl_jax").rglob("*.py") if "import torch" in p.read_text(encoding="utf-8")]
    assert sorted(p.name for p in importing) == [
        "torch_input.py",
        "torch_mae.py",
        "torch_weights.py",
    ]  # run in a child process


LEAST_PEER = SIZES["mae_small"] | {"width": 32, "depth": 1, "heads": 2, "patch": 8, "image": 32, "kept": 4, "batch": 2}
LEAST_PEER |= {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2, "dtype": "float32", "cpu": None}


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": "--xla_backend_optimization_level=0"}


@pytest.mark.slow
def test_our_side_trains_in_a_child_process(tmp_path):
    spec = LEAST_PEER | {"folder": str(tmp_path), "name": "ours", "write": True, "options": {}}
    with Worker(sys.executable, "jax_mae.py", spec, environment()) as worker:
        losses = worker.train(2)["losses"]
        assert losses[1] < losses[0]
        assert worker.timed(1).cpu > 0
    weights = np.load(tmp_path / "parameters.npz")
    assert weights["patch_embed.weight"].shape == (32, 3, 8, 8)
    assert weights["blocks.0.attn.qkv.weight"].shape == (96, 32)


def test_a_failure_of_our_side_in_its_child_process_is_told(tmp_path):
    spec = LEAST_PEER | {"folder": str(tmp_path), "name": "ours", "write": True, "options": {}}
    with (
        pytest.raises(UserError, match=r"ours .*remat"),
        Worker(sys.executable, "jax_mae.py", spec | {"options": {"remat": "x"}}, environment()),
    ):
        pass


def test_torch_computes_the_same_losses(tmp_path):
    pytest.importorskip("torch", reason="the peer needs torch")
    spec = LEAST_PEER | {"folder": str(tmp_path), "name": "ours", "write": True, "options": {}}
    theirs = spec | {"name": "theirs", "device": "cpu", "timm": False, "compile": False}
    with Worker(sys.executable, "jax_mae.py", spec, environment()) as ours:
        reference = ours.train(3)["losses"]
    with Worker(sys.executable, "torch_mae.py", theirs, environment()) as peer:
        check_same(reference, {"theirs": peer.train(3)["losses"]}, tolerance=1e-5)


def test_tables_show_who_wins():
    row = {"seconds": {"cpu": {"median": 2.0, "least": 1.0, "most": 3.0}}, "examples_per_second": 4.0}
    row |= {"first_steps_seconds": {"cpu": 9.0}}
    spread = {"median": 0.8, "least": 0.7, "most": 0.9}
    peer = {
        "clock": "cpu", "dtype": "float32", "versions": {"torch": "2"}, "blocks": "plain", "failed": {"torch compile": "no"},
        "check": {"difference": {"a": 1e-6}, "steps": 3, "tolerance": 1e-4}, "rows": {"jax scan": row, "torch eager": row},
        "ratios": {"torch eager": {"jax scan": spread}},
    }  # fmt: skip
    hardware = dict.fromkeys(("matmul_flops_per_second", "copy_bytes_per_second", "peak_flops_per_second"), 1e9)
    hardware |= {
        "devices": 1,
        "kind": "cpu",
        "processor": "p",
        "dtype": "float32",
        "peak_from": "measured",
        "clock": "cpu",
    }
    text = as_text({"hardware": hardware, "cases": [], "peers": {"mae_small": peer}})
    assert "0.80" in text
    assert "torch compile failed: no" in text


def test_what_is_waited_for_is_what_the_step_takes():
    """The recipe cuts crops on the host: batches of files have to be of the shapes that the step is compiled for."""
    setting = posed("simclr", "Ti", "scan", LEAST, 8)
    with pictures(LEAST.stored, 8) as files, closing(decoded(setting, files, 0)) as stream:
        assert {n: x.shape for n, x in next(stream).items()} == {n: x.shape for n, x in setting.batch.items()}
