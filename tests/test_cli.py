"""The command line: what a person types, what they read back, and the exit code that a script sees."""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from ssl_jax.cli import main
from ssl_jax.errors import UserError
from ssl_jax.recipe.files import flags_to_allow

ROOT = Path(__file__).parents[1]
COMMANDS = ("train", "eval", "preview", "report", "verify", "plan", "replay", "recipes")

RECIPE = '''"""Toy: nothing is learnt."""
from ml_collections import ConfigDict

def get_config(arg=""):
    config = ConfigDict(dict(seed=0, batch_size=8, total_steps=5))
    config.objective = dict(target="cli_test_idea:MyIdea", weight=1.0)
    config.model = dict(target="cli_test_idea:Model")
    config.augment = dict(target="cli_test_idea:Views")
    config.data = dict(pretrain=dict(target="cli_test_idea:Records"))
    return config
'''
IDEA = """
from dataclasses import dataclass
from flax import linen as nn
from ssl_jax.objectives.base import Objective

@dataclass(frozen=True)
class MyIdea(Objective):
    weight: float = 1.0

class Model(nn.Module):
    pass

class Views:
    def __call__(self, keys, batch): ...
    def evaluation(self, batch, policy=""): ...

class Records:
    def __len__(self): ...
    def __getitem__(self, index): ...
    def fingerprint(self): ...
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> str:
    """A recipe of the user's own, with its objective in a file beside it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "cli_test_idea", raising=False)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "toy.py").write_text(RECIPE)
    (tmp_path / "own" / "cli_test_idea.py").write_text(IDEA)
    return str(tmp_path / "own" / "toy.py")


@pytest.fixture
def calls(monkeypatch) -> dict:
    """Stand-ins for what the commands call; returns what they were called with."""
    seen: dict = {}

    def stand_in(module: str, name: str, result):
        def called(*args, **options):
            seen[name] = (args, options)
            return result(*args) if callable(result) else result

        monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**{name: called}))

    stand_in("ssl_jax.training.run", "run", None)
    stand_in("ssl_jax.evaluate.run", "evaluate_run", "probe   accuracy\nlinear      84.3")
    stand_in("ssl_jax.report.preview", "preview", lambda recipe, out: out)
    stand_in("ssl_jax.report.page", "report", lambda workdir, allow: workdir / "report.html")
    seen["stand_in"] = stand_in
    return seen


@pytest.fixture
def trained(tmp_path, recipe, calls, capsys) -> Path:
    """The run directory of a finished run, with a space in its name."""
    workdir = tmp_path / "runs of mine" / "x"
    assert main(["train", "--config", recipe, "--workdir", str(workdir)]) == 0
    capsys.readouterr()
    return workdir


def complaint(capsys, *argv: str) -> str:
    """What a mistake prints: one message on stderr, exit code 2, no traceback, nothing on stdout."""
    assert main(list(argv)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ssl-jax: ")
    assert "Traceback" not in err
    return err


# --- help


def test_a_reader_that_leaves_early_gets_no_traceback():
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()  # the pipe has no reader from the start
    command = [sys.executable, "-m", "ssl_jax", "recipes"]
    done = subprocess.run(command, stdout=reader.stdin, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Example:\n  ssl-jax {command}" in out


def test_help_lists_the_commands(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n    {command} " in out for command in COMMANDS)


def test_the_command_line_imports_nothing_heavy():
    code = (
        "import sys, ssl_jax.cli as c; c.main(['--help']); c.main(['recipes']); c.main(['train', '--workdir', 'x']);"
        "heavy = ('jax', 'flax', 'optax', 'orbax', 'matplotlib', 'sklearn', 'grain', 'tensorboardX', 'tensorflow');"
        "print([m for m in heavy if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == "[]", ran.stderr


def test_python_dash_m_is_the_same_command():
    ran = subprocess.run([sys.executable, "-m", "ssl_jax", "eval"], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("ssl-jax: eval needs --workdir DIR")


# --- what it calls


def test_train_runs_the_recipe_inside_an_open_run_directory(tmp_path, recipe, calls, capsys):
    workdir = tmp_path / "with space"
    calls["stand_in"](
        "ssl_jax.training.run", "run", lambda recipe, w: (w.path / "seen").write_text(str((w.path / "LOCK").exists()))
    )
    argv = ["train", "--config", recipe + ":tiny", "--workdir", str(workdir)]
    assert main([*argv, "--config.optimizer.lr=0.5", "--config.seed", "3"]) == 0
    (parsed, opened), _ = calls["run"]
    assert (parsed.optimizer.lr, parsed.seed) == (0.5, 3)
    assert opened.path == workdir
    assert (workdir / "seen").read_text() == "True"
    assert json.loads((workdir / "config.json").read_text())["optimizer"]["lr"] == 0.5
    idea = Path(recipe).with_name("cli_test_idea.py")
    assert capsys.readouterr().out == f"{workdir}\nNext: ssl-jax eval --workdir '{workdir}' --allow {idea}\n"


def test_an_objective_beside_the_recipe_can_be_named(recipe, trained, calls):
    parsed = calls["run"][0][0]
    assert parsed.objective.build(encoder=1, augment=2).weight == 1.0


def test_a_misspelt_option_is_told_before_anything_is_written(tmp_path, recipe, calls, capsys):
    argv = ["train", "--config", recipe, "--workdir", str(tmp_path / "x"), "--config.objective.wieght=3"]
    assert "has no option 'wieght'; did you mean 'weight'?" in complaint(capsys, *argv)
    assert not (tmp_path / "x").exists()
    assert "run" not in calls


def test_training_again_with_another_recipe_is_refused_unless_allowed(recipe, trained, capsys):
    argv = ["train", "--config", recipe, "--workdir", str(trained)]
    assert "seed: 0 -> 1" in complaint(capsys, *argv, "--config.seed=1")
    assert main([*argv, "--config.seed=1", "--allow-config-change", "seed"]) == 0


def test_a_config_from_a_run_directory_may_not_run_other_code_unless_allowed(tmp_path, trained, recipe, capsys):
    argv = ["train", "--config", str(trained / "config.json"), "--workdir", str(tmp_path / "again")]
    assert "is outside ssl_jax" in complaint(capsys, *argv)
    assert not (tmp_path / "again").exists()
    assert main([*argv, "--allow", str(Path(recipe).with_name("cli_test_idea.py"))]) == 0


def test_eval_prints_the_table_and_where_it_is(trained, calls, capsys, recipe):
    assert main(["eval", "--workdir", str(trained)]) == 0
    assert capsys.readouterr().out == f"probe   accuracy\nlinear      84.3\n{trained / 'eval'}\n"
    assert calls["evaluate_run"] == ((trained, None, None, ()), {})
    idea = str(Path(recipe).with_name("cli_test_idea.py"))
    argv = ["eval", "--workdir", str(trained), "--probes", "linear, knn", "--step", "50", "--allow", idea]
    assert main([*argv, "--encoder", "teacher"]) == 0
    assert calls["evaluate_run"] == ((trained, ("linear", "knn"), 50, ("cli_test_idea",)), {"encoder": "teacher"})
    assert str(Path(idea).parent) in sys.path


def test_preview_and_report_print_the_path_that_they_wrote(trained, recipe, calls, capsys):
    assert main(["preview", "--config", recipe, "--out", "some/views.png"]) == 0
    assert main(["report", "--workdir", str(trained)]) == 0
    assert capsys.readouterr().out == f"some/views.png\n{trained / 'report.html'}\n"


def test_recipes_lists_names_and_results(tmp_path, monkeypatch, capsys):
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "toy.py").write_text('"""Toy: one line."""\nRESULT = "84 %"\n')
    (tmp_path / "image" / "toy_two.py").write_text('"""Toy two."""\n')
    monkeypatch.setattr("ssl_jax.recipe.files.configs_dir", lambda: tmp_path)
    assert main(["recipes"]) == 0
    expected = "toy\n    Toy: one line.\n    reached: 84 %\ntoy_two\n    Toy two.\n    reached: not measured yet\n"
    assert capsys.readouterr().out == expected


def test_recipes_of_a_folder_are_named_as_train_takes_them(recipe, capsys):
    folder = Path(recipe).parent
    (folder / "broken.py").write_text("def get_config(:")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "other.py").write_text(RECIPE)
    assert main(["recipes", str(folder)]) == 0  # not the module beside it, nor what cannot be read
    assert capsys.readouterr().out == f"{recipe}\n    Toy: nothing is learnt.\n    reached: not measured yet\n"


def test_a_folder_is_allowed_with_all_that_lies_in_it(recipe, trained, tmp_path, calls):
    argv = ["train", "--config", str(trained / "config.json"), "--workdir"]
    assert main([*argv, str(tmp_path / "again"), "--allow", str(Path(recipe).parent)]) == 0
    package = tmp_path / "a_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    assert main(["eval", "--workdir", str(trained), "--allow", str(package), "--allow", "./"]) == 0
    assert calls["evaluate_run"][0][3][0] == "a_package"
    assert str(tmp_path) in sys.path


def test_cpu_devices_are_set_before_jax_starts(recipe, calls, tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--some_flag=1")
    monkeypatch.setenv("JAX_PLATFORMS", "")
    assert main(["train", "--config", recipe, "--workdir", str(tmp_path / "x"), "--cpu-devices", "4"]) == 0
    assert os.environ["XLA_FLAGS"] == "--some_flag=1 --xla_force_host_platform_device_count=4"
    assert os.environ["JAX_PLATFORMS"] == "cpu"


def test_modules_that_lie_beside_the_recipe_are_allowed_by_their_folder(recipe, calls, tmp_path, capsys):
    folder = Path(recipe).parent
    (folder / "cli_test_more.py").write_text(IDEA)
    Path(recipe).write_text(RECIPE.replace("cli_test_idea:Records", "cli_test_more:Records"))
    assert main(["train", "--config", recipe, "--workdir", str(tmp_path / "x")]) == 0
    assert capsys.readouterr().out.endswith(f"--workdir {tmp_path / 'x'} --allow {folder}/\n")
    assert main(["eval", "--workdir", str(tmp_path / "x"), "--allow", f"{folder}/"]) == 0
    assert {"cli_test_idea", "cli_test_more"} <= set(calls["evaluate_run"][0][3])
    (folder / "__init__.py").write_text("")  # the folder's name is that of a package now
    flags = flags_to_allow(["cli_test_idea", "cli_test_more"], recipe, [])
    assert flags == (str(folder / "cli_test_idea.py"), str(folder / "cli_test_more.py"))


def test_a_home_is_found_and_another_folder_is_handed_on(trained, calls, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(trained.parent))
    assert main(["eval", "--workdir", "~/x", "--out", "~/elsewhere"]) == 0
    elsewhere = trained.parent / "elsewhere"
    assert calls["evaluate_run"] == ((trained, None, None, ()), {"out": elsewhere})
    assert capsys.readouterr().out.endswith(f"{elsewhere / 'eval'}\n")


# --- exit codes


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "name a command\n\nusage: ssl-jax"),
        (["trian"], "invalid choice: 'trian'"),
        (
            ["train", "--workdir", "x"],
            "train needs --config RECIPE. A path to your own recipe ends in .py. Shipped recipes:",
        ),
        (["train", "--config", "x.py"], "train needs --workdir DIR"),
        (["train", "--wrkdir", "x"], "train has no option '--wrkdir'; did you mean '--workdir'?"),
        (["train", "--steps", "9"], "train has no option '--steps'; did you mean --config.total_steps=...?"),
        (["train", "--epochs=9"], "did you mean --config.total_epochs=...?"),
        (["train", "--lr", "9"], "did you mean --config.optimizer.lr=...?"),
        (["train", "--learning-rate", "9"], "did you mean --config.optimizer.lr=...?"),
        (["train", "--batch-size", "9"], "did you mean --config.batch_size=...?"),
        (["eval", "--steps", "9"], "eval has no option '--steps'; did you mean '--step'?"),
        (["recipes", "nowhere"], "recipes nowhere: no such folder"),
        (["recipes", "."], "recipes .: no .py file in it defines get_config"),
        (["train", "--config", "no.py", "--workdir", "x"], "--config no.py: no such file"),
        (["train", "--config.seed"], "--config.seed has no value; write --config.seed=VALUE"),
        (["eval", "--workdir", "nowhere"], "--workdir nowhere does not exist; name the directory that `ssl-jax train"),
        (["report", "--workdir", "nowhere"], "--workdir nowhere does not exist"),
        (["eval", "--workdir", "x", "--step", "last"], "argument --step: invalid int value: 'last'"),
        (["eval", "--workdir", "x", "--config.seed=1"], "it uses the config.json of the run as it is"),
        (["preview"], "preview needs --config RECIPE"),
        (["preview", "--config", "x.py", "--allow", "gone.py"], "--allow gone.py: no such file"),
        (["preview", "--config", "x.py", "--allow", "a-b"], "--allow a-b: write a module name"),
        (["preview", "--config", "x.py", "--cpu-devices", "0"], "--cpu-devices 0: must be 1 or more"),
        (["train", "--config", "x.py", "--workdir", ""], "a path is empty"),
        (["eval", "--workdir="], "a path is empty"),
        (["train", "--config", "", "--workdir", "x"], "a path is empty"),
        (["eval", "--workdir", "n" * 256], "is too long: 256 bytes in one name (at most 255)"),
        (["report", "--workdir", "ü" * 128], "is too long: 256 bytes in one name"),
        (["replay", "d/" * 2048], " in all (at most 3840)"),
        (["train", "--config", "x.py", "--workdir", "caf\udce9"], "is not UTF-8"),
        (["recipes", "~nobody_of_this_name/x"], "no home directory is known for it"),
    ],
)
def test_mistakes_are_one_message_and_exit_code_2(tmp_path, monkeypatch, capsys, argv, said):
    monkeypatch.chdir(tmp_path)
    assert said in complaint(capsys, *argv)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("batch_size=100 is not divisible; use 96"), 2, "ssl-jax: batch_size=100 is not divisible; use 96\n"),
        (
            KeyboardInterrupt(),
            130,
            "\nssl-jax: interrupted; run the same command again: what was saved is not lost\n",
        ),
        (ZeroDivisionError("a bug"), 1, "ZeroDivisionError: a bug\n"),
    ],
)
def test_exit_code_says_who_can_fix_it(tmp_path, recipe, calls, capsys, error, code, said):
    def fail(*_):
        raise error

    calls["stand_in"]("ssl_jax.training.run", "run", fail)
    assert main(["train", "--config", recipe, "--workdir", str(tmp_path / "x")]) == code
    err = capsys.readouterr().err
    assert err.endswith(said)
    assert ("Traceback" in err) == (code == 1)
    assert not (tmp_path / "x" / "LOCK").exists()


@pytest.mark.parametrize(
    ("command", "function"), [("eval", "ssl_jax.evaluate.run.evaluate_run"), ("report", "ssl_jax.report.page.report")]
)
def test_what_is_compiled_for_a_finished_run_is_kept(tmp_path, monkeypatch, command, function):
    calls = []
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr("ssl_jax.devices.compiler.keep_compiled_programs", lambda: calls.append("kept"))
    monkeypatch.setattr(function, lambda *a, **k: calls.append(command))
    assert main([command, "--workdir", str(tmp_path)]) == 0
    assert calls == ["kept", command]
