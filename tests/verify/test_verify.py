"""`ssl-jax verify` passes what is right, and names the check that a planted mistake fails."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from ssl_jax.cli import main
from ssl_jax.errors import UserError
from ssl_jax.recipe import load, parse, recipes
from ssl_jax.verify.checks import CHECKS, FAIL, Check, Outcome, checked, outcome, same
from ssl_jax.verify.run import chosen, verify
from ssl_jax.verify.subject import subject

ROOT = Path(__file__).parents[2]
PLANTED = Path(__file__).with_name("planted.py")
SMALL = (
    "--config.model.widths=8,", "--config.model.strides=4,", "--config.model.kernels=3,", "--config.model.norm=group",
    "--config.objective.hidden=16,", "--config.objective.out=16", "--config.objective.head_norm=none",
    "--config.augment.views.image.jitter_prob=0", "--batch-size=16",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("planted", "simsiam"):
        sys.modules.pop(name, None)


def run(tmp_path, target, checks):
    """Exit code and checks by name of a planted objective."""
    out = tmp_path / "verify.json"
    words = [
        "--config",
        "simclr_conv_fashion:tiny",
        "--allow",
        str(PLANTED),
        f"--config.objective.target=planted:{target}",
    ]
    code = main(["verify", *words, *SMALL, "--checks", checks, "--out", str(out)])
    report = json.loads(out.read_text())
    assert report["passed"] == (code == 0)
    return code, {c["name"]: c for c in report["checks"]}


def test_a_stop_gradient_on_one_devices_negatives_fails_devices(tmp_path, capsys):
    code, found = run(tmp_path, "Stopped", "devices")
    assert code == 1
    devices = found["devices"]
    assert devices["status"] == FAIL
    # The loss is right: only the gradient tells.
    assert devices["measured"]["loss"] <= devices["limits"]["loss"]
    assert devices["measured"]["gradient"] > 100 * devices["limits"]["gradient"]
    assert "FAILED: devices" in capsys.readouterr().out


def test_a_key_folded_with_the_device_fails_views(tmp_path, capsys):
    code, found = run(tmp_path, "Folded", "views")
    assert code == 1
    assert found["views"]["measured"]["other devices"] > 0.5
    assert "FAILED: views" in capsys.readouterr().out


def test_accumulation_that_changes_the_loss_fails_unless_the_objective_refuses_it(tmp_path, capsys):
    code, found = run(tmp_path, "Few", "accumulation")
    assert (code, found["accumulation"]["status"]) == (1, FAIL)
    words = ["verify", "--config", "simclr_conv_fashion:tiny", *SMALL, "--checks", "accumulation"]
    assert main(words) == 0
    assert "refused" in (told := capsys.readouterr().out)
    assert "fewer negatives" in told


def test_an_embedding_that_depends_on_its_microbatch_fails_the_gradient_cache(tmp_path):
    code, found = run(tmp_path, "Centred", "gradient cache")
    assert (code, found["gradient cache"]["status"]) == (1, FAIL)


@pytest.mark.slow
def test_a_loss_that_depends_on_the_process_fails_devices(tmp_path):
    code, found = run(tmp_path, "Counting", "devices")
    assert (code, found["devices"]["status"]) == (1, FAIL)


def simsiam(checks):
    config = ROOT / "docs" / "examples" / "simsiam" / "simsiam_fashion.py"
    small = [w for w in SMALL if "head_norm" not in w and "model.norm" not in w]
    small += ["--config.objective.predictor_hidden=8"]
    return main(["verify", "--config", f"{config}:tiny", *small, *checks])


def test_the_example_of_a_fork_passes_and_resumes_from_a_real_checkpoint(capsys):
    assert simsiam(["--checks", "accumulation,resume"]) == 0
    told = capsys.readouterr().out
    assert "arrays compared" in told
    assert "BatchNorm statistics" in told  # why accumulation is refused


@pytest.mark.slow
def test_the_example_of_a_fork_passes_every_check(capsys):
    assert simsiam([]) == 0
    assert "FAIL" not in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", [r.name for r in recipes()])
def test_shipped_recipes_pass_every_check(name):
    report = verify(load(f"{name}:tiny", []))
    assert report.passed, report.outcomes
    assert len(report.outcomes) == len(CHECKS)


@pytest.mark.parametrize(
    ("rounded", "exact", "status"),
    [
        (0.0, 1.0, "pass"), (1e-4, 0.0, "pass"), (5e-3, 0.0, "pass"), (1e-4, 1e-8, FAIL), (2e-2, 0.0, FAIL),
        (float("nan"), 0.0, FAIL),
    ],
)  # fmt: skip
def test_float64_decides_where_float32_may_only_be_rounding(rounded, exact, status):
    class Numbers:
        def __init__(self, apart, double=None):
            self.apart, self.double = apart, double

    def ours(subject):
        return 1.0, {"w": np.ones(1)}

    def theirs(subject):
        return 1.0, {"w": np.ones(1) + subject.apart}

    made = same(Numbers(rounded, Numbers(exact)), ours, theirs)
    assert made.status == status
    assert ("gradient in float64" in made.measured) == (status == "pass" and rounded > 0)


def test_what_is_not_a_number_and_what_raises_fail():
    assert outcome({"loss": float("nan")}, {"loss": 1e-5}).status == FAIL
    assert outcome({"loss": 1e-5}, {"loss": 1e-5}).status == "pass"

    def broken(subject):
        raise ZeroDivisionError("of user code")

    made = checked(Check("broken", "", broken), None)
    assert made == Outcome(FAIL, note="ZeroDivisionError: of user code")


@pytest.mark.slow
def test_microbatches_are_compared_without_stochastic_depth():
    depth = ["--config.model.depth=2", "--config.model.drop_path=0.5"]
    report = verify(load("dino_vit_fashion:tiny", depth), batch_size=16, checks=chosen("accumulation"))
    made = report.outcomes["accumulation"]
    assert made.status == "pass", made
    assert "without the model's noise" in made.note


def test_checks_are_chosen_by_name_and_run_in_float32():
    assert [c.name for c in chosen("resume, views")] == ["resume", "views"]
    with pytest.raises(UserError, match="no check 'vews'"):
        chosen("vews")
    recipe = parse(load("mae_vit_fashion:tiny", ["--config.model.dtype=bfloat16"]))
    objective = subject(recipe, tuple(jax.devices()), 16).setup.objective
    assert {module.dtype for module in objective.modules.values()} == {"float32"}
