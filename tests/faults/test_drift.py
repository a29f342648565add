"""A run resumes with its own recipe, data and directory, or says what differs."""

import json
import shutil

import pytest
from fault_objective import reads
from fault_runs import Run, losses, saved_steps, stopped_at, trained

from ssl_jax.cli import main
from ssl_jax.errors import UserError
from ssl_jax.recipe import from_json, to_json
from ssl_jax.rundir.identity import Identity, identity
from ssl_jax.rundir.log import read_metrics
from ssl_jax.training import rate
from ssl_jax.training.ownership import owner_on_resume, refuse_another_count, refuse_foreign

CLOCK = """
import itertools, time
now, calls = time.time, itertools.count()
time.time = lambda: now() - 3600 * next(calls)
"""


def test_another_recipe_is_refused_with_the_difference_unless_the_key_is_allowed(tmp_path, straight):
    workdir = shutil.copytree(straight, tmp_path / "run")
    change = ["--config.optimizer.lr=0.5"]
    run = trained(workdir, *change, code=2)
    assert "optimizer.lr: 0.01 -> 0.5" in run.said()
    assert "--allow-config-change optimizer.lr" in run.said()
    run = trained(workdir, *change, "--allow-config-change", "optimizer.lr")
    assert "config changed on resume: optimizer.lr: 0.01 -> 0.5" in run.said()
    assert "the spike rule forgets earlier losses, since optimizer.lr changed" in run.said()


def test_other_data_is_refused_unless_it_is_allowed(tmp_path, straight):
    workdir = shutil.copytree(straight, tmp_path / "run")
    change = ["--config.data.pretrain.salt=edited", "--allow-config-change", "data"]
    run = trained(workdir, *change, code=2)
    assert "the order of examples would change" in run.said()
    assert "--allow-data-change" in run.said()
    run = trained(workdir, *change, "--allow-data-change")
    assert "data changed on resume: " in run.said()


def test_unreadable_records_are_replaced_counted_and_listed(tmp_path):
    workdir = tmp_path / "run"
    options = ["--config.data.pretrain.bad=(3, 17)", "--config.data.max_bad_fraction=0.05"]
    run = trained(workdir, *options)
    listed = [json.loads(line) for line in (workdir / "bad_records.jsonl").read_text().splitlines()]
    assert sorted(r["index"] for r in listed) == [3, 17]
    assert {r["reason"] for r in listed} == {"ValueError: truncated"}
    assert "2 records could not be read and were replaced" in run.said()
    run = trained(
        tmp_path / "worse", "--config.data.pretrain.bad=(3, 17)", "--config.data.max_bad_fraction=0.02", code=2
    )
    assert "data.max_bad_fraction" in run.said()


def test_two_runs_in_one_directory_are_one_and_a_refusal(tmp_path):
    with Run(tmp_path / "run", "--config.data.pretrain.stall=(0, 30)") as first:
        first.until_step(2)
        second = trained(tmp_path / "run", "--config.data.pretrain.stall=(0, 30)", code=2)
        assert f"is in use by another run (process {first.process.pid}" in second.said()
        assert first.process.is_alive()


def test_a_clock_that_runs_backwards_changes_nothing(tmp_path, straight):
    trained(tmp_path / "run", prepare=CLOCK)
    assert losses(tmp_path / "run") == losses(straight)
    assert saved_steps(tmp_path / "run") == [8, 16, 24]


def test_a_run_resumes_on_another_mesh_with_every_example_once_an_epoch(tmp_path, straight):
    workdir, log, gate = tmp_path / "run", tmp_path / "reads", tmp_path / "gate"
    options = [f"--config.data.pretrain.log={log}", f"--config.data.pretrain.hold=(66, '{gate}')"]
    eight = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"}
    with Run(workdir, *options) as run:
        run.until_step(5)
        run.signal(15)
        run.until(lambda: "SIGTERM: finishing the step" in run.said())
        gate.touch()
        assert run.wait() == 0
    assert 5 <= stopped_at(run) < 24
    trained(workdir, *options, XLA_FLAGS=eight["XLA_FLAGS"].replace("8 ", "4 "))
    found, expected = losses(workdir), losses(straight)
    assert sorted(found) == sorted(expected)
    assert all(abs(found[s] / expected[s] - 1) < 1e-5 for s in expected)
    seen = [record for _, record in reads(log)]
    for _ in range(2):
        seen.remove(0)  # each start looks at record 0 for its shapes
    assert sorted(seen) == sorted(list(range(64)) * 3)


# --- whose a checkpoint is

CONFIG = {"seed": 0, "batch_size": 8, "optimizer": {"lr": 0.01}, "log": {"every_steps": 1}}
META = {"run": "mine", "cursor": 80, "batch_size": 8, "recipe": to_json(CONFIG)}
LR = CONFIG | {"optimizer": {"lr": 0.5}}
TABLE = [  # what differs from a run that is whole, and the words of the refusal, if any
    ({}, ""),
    ({"meta": META | {"run": "other"}}, "belongs to another run (other; this one is mine): it was copied here"),
    ({"meta": META | {"cursor": 40}}, "holds the state of step 5: it was copied or renamed"),
    ({"meta": META | {"cursor": 84}}, "holds the state of step 10.5"),
    ({"config": LR}, "optimizer.lr: 0.01 -> 0.5"),
    ({"config": CONFIG | {"seed": 1}}, "seed: 0 -> 1"),
    ({"config": CONFIG | {"log": {"every_steps": 9}}}, ""),  # says nothing about what is trained
    ({"config": LR, "owner": Identity("mine", allowed={"optimizer.lr": ("0.5",)})}, ""),
    ({"config": LR, "owner": Identity("mine", allowed={"optimizer.lr": ("0.7",)})}, "optimizer.lr: 0.01 -> 0.5"),
    ({"config": LR, "owner": Identity("mine", ("optimizer",))}, ""),
    ({"config": LR, "owner": Identity("mine", ("optim",))}, "optimizer.lr: 0.01 -> 0.5"),
    ({"owner": Identity()}, ""),  # env.json is lost
    ({"owner": Identity(), "meta": META | {"cursor": 0}}, "holds the state of step 0"),
    ({"meta": {}}, ""),  # as an older version wrote it
    ({"meta": {k: v for k, v in META.items() if k != "run"}}, ""),
]


@pytest.mark.parametrize(("change", "refusal"), TABLE)
def test_a_checkpoint_is_asked_whose_it_is_which_step_and_which_recipe(tmp_path, change, refusal):
    owner, meta, config = Identity("mine"), META, CONFIG
    owner, meta, config = change.get("owner", owner), change.get("meta", meta), change.get("config", config)
    (tmp_path / "env.json").write_text(json.dumps(owner.to_env()))
    (tmp_path / "config.json").write_text(to_json(config))
    config = from_json(to_json(config))
    for ask in (
        lambda: refuse_foreign(tmp_path, 10, meta),
        lambda: owner_on_resume(tmp_path, config, 10, meta),
    ):
        if refusal:
            with pytest.raises(UserError) as caught:
                ask()
            assert refusal in str(caught.value)
            assert f"{tmp_path / 'checkpoints' / '10'} " in str(caught.value)
        else:
            ask()
    if not refusal:
        assert owner_on_resume(tmp_path, config, 10, meta).name == (owner.name or "mine")


def test_what_an_older_version_wrote_is_told_and_believed_but_not_without_its_config(tmp_path, caplog):
    older = {k: v for k, v in META.items() if k != "run"}
    (tmp_path / "config.json").write_text("{}")
    assert len(owner_on_resume(tmp_path, LR, 10, older).name) == 16
    assert "does not say which run it belongs to, as from an older version" in caplog.text
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match=r"trained with another recipe. It would change:\n  optimizer.lr: 0.01 -> 0.5"):
        owner_on_resume(tmp_path, LR, 10, older)
    with pytest.raises(UserError, match="holds the state of step 7"):
        refuse_another_count(tmp_path, 10, META, lambda: 7)


@pytest.mark.parametrize("env", ["", "[]", '{"run": 3, "allowed_changes": [], "allow_config_change": {"a": 1}}'])
def test_an_env_that_was_edited_names_nobody(tmp_path, env):
    (tmp_path / "env.json").write_text(env)
    assert identity(tmp_path) == Identity()


def test_another_runs_checkpoint_is_refused_by_train_and_report(tmp_path, straight, capsys):
    """As `cp -r OTHER/checkpoints/24 RUN/checkpoints/24` leaves it, OTHER being a run with another seed."""
    trained(tmp_path / "other", "--config.seed=1")
    workdir = shutil.copytree(straight, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints" / "24")
    shutil.copytree(tmp_path / "other" / "checkpoints" / "24", workdir / "checkpoints" / "24")
    words = f"checkpoints/24 belongs to another run ({identity(tmp_path / 'other').name}; "
    assert words in trained(workdir, code=2).said()
    assert main(["report", "--workdir", str(workdir), "--allow", "fault_objective"]) == 2
    assert words in capsys.readouterr().err
    assert losses(workdir) == losses(straight)  # nothing was cut


def test_a_checkpoint_under_another_number_is_refused(tmp_path, straight):
    workdir = shutil.copytree(straight, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints" / "24")
    (workdir / "checkpoints" / "16").rename(workdir / "checkpoints" / "24")
    assert "checkpoints/24 holds the state of step 16" in trained(workdir, code=2).said()


def test_without_config_json_another_recipe_is_refused_and_the_same_goes_on(tmp_path, straight):
    workdir = shutil.copytree(straight, tmp_path / "run")
    (workdir / "config.json").unlink()
    run = trained(workdir, "--config.optimizer.lr=0.5", code=2)
    assert "was trained with another recipe. It would change:\n  optimizer.lr: 0.01 -> 0.5" in run.said()
    assert not (workdir / "config.json").exists()
    trained(workdir)
    assert (workdir / "config.json").read_bytes() == (straight / "config.json").read_bytes()
    assert identity(workdir).name == identity(straight).name


def test_a_refused_resume_leaves_the_recipe_as_it_was(tmp_path, straight):
    """Sizes that do not fit are seen when the state is restored: by then nothing may have been written."""
    workdir = shutil.copytree(straight, tmp_path / "run")
    run = trained(workdir, "--config.model.width=4", "--allow-config-change", "model", code=2)
    assert "does not fit this recipe" in run.said()
    assert (workdir / "config.json").read_bytes() == (straight / "config.json").read_bytes()
    run = trained(workdir, "--config.batch_size=16", "--allow-config-change", "batch_size", code=2)
    assert "batch_size cannot change once there is a checkpoint" in run.said()
    assert "add --allow-config-change" not in run.said()
    trained(workdir)


def test_a_longer_total_tells_the_old_and_the_new_rate(tmp_path, straight):
    workdir = shutil.copytree(straight, tmp_path / "run")
    run = trained(workdir, "--config.total_steps=32", "--allow-config-change", "total_steps")
    said = run.said()
    old, new = (r["lr"] for r in read_metrics(workdir) if r["step"] in (24, 25) and "lr" in r)
    assert f"warning: the learning rate of step 25 is {new:.2e}, after {old:.2e} at step 24 (the plan so far: 0" in said
    assert new > 30 * old
    assert "Changed: total steps 24 -> 32. Constant: schedule, peak rate, warm-up steps, parameters, the opt" in said
    assert "schedule.name=wsd" in said
    assert identity(workdir).allowed == {"total_steps": ("32",)}


def test_the_stable_phase_of_wsd_extends_a_run_without_a_jump():
    plan = lambda name, total: rate.Plan(0.1, 5, total, name, _schedule(name, total))  # noqa: E731
    text, jumps = rate.told(plan("wsd", 100), plan("wsd", 300), 80, 80)
    assert not jumps
    assert text.startswith(
        "the learning rate of step 81 is 1.00e-01, as by the plan so far. Changed: total steps 100 -> 300. Constant: sched"
    )
    text, jumps = rate.told(plan("wsd", 100), plan("wsd", 300), 99, 99)  # after its decay began
    assert jumps
    assert rate.told(plan("cosine", 100), plan("cosine", 100), 80, 80) == ("", False)


def _schedule(name, total):
    from ssl_jax.optim.schedules import SCHEDULES

    return SCHEDULES[name](0.1, total, 5)
