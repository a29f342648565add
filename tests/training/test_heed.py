"""A run whose check finds a collapse: it goes on, is saved and ends, or goes back; and the gradient-noise scale."""

import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.checkpoint.files import StepDirectories
from ssl_jax.cli import main
from ssl_jax.evaluate.probes import health
from ssl_jax.evaluate.probes.health import Judgement
from ssl_jax.recipe.schema import ACTIONS
from ssl_jax.rundir.log import read_metrics
from ssl_jax.training.heed import ends
from ssl_jax.training.noise_scale import noise_scale

TRAIN = ["train", "--config", "simclr_conv_fashion:tiny", "--config.total_steps=6", "--config.log.every_steps=2",
         "--config.checkpoint.every_steps=2", "--config.evaluate.every_steps=2", "--config.log.tensorboard=False",
         "--config.evaluate.health_examples=40", "--config.batch_size=16"]  # fmt: skip


@pytest.fixture
def collapsing(monkeypatch):
    """Checks that call the run collapsed from step 4 on."""

    def judged(history):
        step = history[-1]["step"]
        return Judgement("collapsed", "planted", 4) if step >= 4 else Judgement("healthy")

    monkeypatch.setattr("ssl_jax.evaluate.online.judgement", judged)


def steps(workdir):
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdecimal())


@pytest.mark.slow
def test_pause_saves_and_ends_and_rollback_goes_on_from_the_last_healthy_checkpoint(tmp_path, collapsing, capfd):
    run = [*TRAIN, "--workdir", str(tmp_path / "x")]
    assert main([*run, "--config.health.action=pause"]) == 0
    told = capfd.readouterr().err
    assert "warning: health: collapsed since step 4: planted" in told
    assert "ended at step 4, and saved" in told
    assert steps(tmp_path / "x") == [2, 4]
    last = read_metrics(tmp_path / "x")[-1]
    assert (last["health"], last["health_reason"], last["health_since"]) == ("collapsed", "planted", 4)
    change = ["--config.health.action=rollback", "--allow-config-change", "health.action"]
    assert main([*run, *change]) == 0  # two more steps, and it is found again
    assert "ended at step 6" in capfd.readouterr().err
    assert steps(tmp_path / "x") == [2]
    assert len(list((tmp_path / "x" / "checkpoints").glob("4.unhealthy-*"))) == 1
    again = ["--config.health.action=none", "--allow-config-change", "health.action"]
    assert main([*run, *again]) == 0
    told = capfd.readouterr().err
    assert "resumed at step 2 of 6" in told
    assert steps(tmp_path / "x") == [2, 4, 6]
    assert [r["step"] for r in read_metrics(tmp_path / "x") if "health" in r] == [0, 2, 4, 6]
    assert main([*run, "--config.health.action=stop", "--allow-config-change", "health.action"]) == 2
    assert "health.action='stop': must be one of none, pause, rollback" in capfd.readouterr().err


def test_checkpoints_since_the_last_healthy_check_are_renamed_and_kept(tmp_path):
    files = StepDirectories(tmp_path)
    for step in (2, 4, 6, 10):
        files.saving(step).mkdir()
        (files.saving(step) / "state").write_text("x")
        files.publish(step, keep=9, keep_every=0)
    files.set_aside_after(4, "unhealthy", "planted")
    assert files.steps() == [2, 4]
    assert sorted(p.name.partition("-")[0] for p in tmp_path.iterdir()) == ["10.unhealthy", "2", "4", "6.unhealthy"]


def test_only_a_collapse_ends_a_run_and_only_if_it_is_told_to():
    found = [{"health": word} for word in ("healthy", "degrading", "collapsed")]
    assert [[ends(action, f) for f in found] for action in ACTIONS] == [[False] * 3, *[[False, False, True]] * 2]


def test_the_noise_scale_of_known_gradients():
    """Gradients of examples are (1, 0, ...) plus noise of variance 0.5 in each of 8 dimensions: the scale is 4."""
    rng = np.random.default_rng(0)
    each = np.eye(8)[0] + np.sqrt(0.5) * rng.standard_normal((4000, 64, 8))
    small = np.square(each.reshape(4000, 8, 8, 8).mean(axis=2)).sum(-1).mean()
    big = np.square(each.mean(axis=1)).sum(-1).mean()
    assert noise_scale(jnp.asarray(small), jnp.asarray(big), 8, 64) == pytest.approx(4, rel=0.05)
    assert np.isnan(noise_scale(jnp.asarray(1.0), jnp.asarray(0.01), 8, 64))


def test_a_judgement_says_why_and_since_when():
    check = lambda step, std, rank: {"step": step, "feature_std": std, "rankme": 20.0, "centred_rank": rank}  # noqa: E731
    history = [check(0, 0.5, 20), check(10, 0.5, 20), check(20, 0.001, 20), check(30, 0.001, 1.5)]
    assert health.judgement(history[:2]) == Judgement("healthy")
    assert health.judgement(history) == Judgement(
        "collapsed", "features of all records point the same way (std x sqrt(F) is 0.001)", 20
    )
    line = [
        check(i, 0.5, 20) | {"embedding_std": 1.0, "embedding_rank": r} for i, r in ((0, 20), (100, 1.2), (200, 1.1))
    ]
    word, reason, since = health.judgement(line)
    assert (word, since) == ("collapsed", 200)
    assert reason == "embeddings lie along 1.1 directions, of 20 at first"


@pytest.mark.parametrize(
    ("p", "usage", "entropy"),
    [(np.eye(4), 1.0, 0.0), (np.full((9, 4), 0.25), 1.0, np.log(4)), (np.eye(4)[[0] * 5], 0.25, 0.0)],
)
def test_usage_and_entropy_of_known_assignments(p, usage, entropy):
    assert health.assignment_measures(p) == pytest.approx(
        {"prototype_usage": usage, "assignment_entropy": entropy}, abs=1e-9
    )
