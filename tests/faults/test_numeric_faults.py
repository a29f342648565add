"""A step that is not finite, or spikes, leaves no trace; too many leave a bundle that shows them again."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fault_objective import Faulty, Flat, Numbers, Plain
from fault_runs import losses, saved_steps, trained

from ssl_jax.cli import main
from ssl_jax.data.pipeline import batches
from ssl_jax.devices.mesh import make_mesh
from ssl_jax.devices.replicas import ReplicaCheck, bit_sum
from ssl_jax.errors import UserError
from ssl_jax.optim import optimizers
from ssl_jax.recipe import load, parse, to_json
from ssl_jax.training import spikes
from ssl_jax.training.crash import what_is_kept
from ssl_jax.training.run import restored, state_like
from ssl_jax.training.step import Setup, TrainState, init_state, train_step
from ssl_jax.training.usable import UsableCheck

EIGHT = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"}


def setup(**options):
    recipe = parse(load("mae_vit_fashion:tiny"))
    optimizer, _ = optimizers.from_recipe(recipe.optimizer, recipe.schedule, 1e-2, 24, 1)
    objective = Faulty(Flat(8), Plain(), nan_at=(2,), inf_at=(4,), spike_at=(6,))
    return Setup(objective, optimizer, 0, 24, **options)


def same(left, right):
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True))


def content(state):
    return state.params, state.extra, state.opt_state, state.window


def test_a_skipped_step_changes_nothing_but_the_counters():
    faulty = setup(skip_spikes=True)
    stream = batches(Numbers(), seed=0, batch_size=8)
    data = [next(stream) for _ in range(8)]
    state = init_state(faulty, data[0])
    # As if 64 steps with a loss and norm of about 1 had been seen.
    values = jnp.tile(jnp.linspace(0.5, 2.0, spikes.LENGTH), (2, 1))
    state = state._replace(window=spikes.Window(values, jnp.asarray(64, jnp.int32)))
    step = jax.jit(lambda s, b: train_step(faulty, s, b))
    skipped = []
    for k, batch in enumerate(data):
        new, metrics = step(state, batch)
        if k in (2, 4, 6):  # a gradient, a loss, a spike
            skipped.append(k)
            assert same(content(new), content(state))
            assert np.isfinite(metrics["loss"]) == (k != 4)
            assert np.isfinite(metrics["grad_norm"]) == (k == 6)
        else:
            assert not same(new.extra, state.extra) or k == 0  # the warm-up starts at a learning rate of 0
            assert not same(new.opt_state, state.opt_state)
        assert (int(new.step), int(new.skipped)) == (k + 1, len(skipped))
        state = new
    assert skipped == [2, 4, 6]


def test_the_spike_rule_is_mean_plus_six_deviations_of_128_after_64():
    rng = np.random.default_rng(0)
    window, pushed = spikes.empty(), jax.jit(spikes.pushed)
    seen = rng.normal(3.0, 0.1, (200, 2)).astype(np.float32)
    for i, (loss, norm) in enumerate(seen):
        assert bool(spikes.is_spike(window, jnp.float32(1e9), norm)) == (i >= 64)
        window = pushed(window, loss, norm)
    last = seen[-128:].astype(np.float64)
    limit = last.mean(0) + 6 * last.std(0)
    for shift, expected in ((-1e-3, False), (1e-3, True)):
        assert bool(spikes.is_spike(window, jnp.float32(limit[0] + shift), jnp.float32(3.0))) == expected
        assert bool(spikes.is_spike(window, jnp.float32(3.0), jnp.float32(limit[1] + shift))) == expected


@pytest.mark.parametrize(
    ("change", "data", "forgets"),
    [("optimizer.lr=0.5", "a", True), ("log.tensorboard=False", "a", False), ("log.tensorboard=True", "b", True)],
)
def test_a_resumed_run_forgets_losses_of_another_recipe_or_other_data(change, data, forgets):
    class Saved:
        def meta(self, step):
            return meta("log.tensorboard=True", "a")

        def restore(self, like, step):
            return state

    def meta(changed, data):
        return {"recipe": to_json(load("mae_vit_fashion:tiny", [f"--config.{changed}"])), "data": data, "batch_size": 8}

    known = spikes.Window(jnp.ones((2, spikes.LENGTH)), jnp.asarray(64, jnp.int32))
    state = TrainState(0, 0, 0, {}, {}, (), known)
    new = restored(Saved(), state, meta(change, data), 7, allow_data_change=True)
    assert int(new.window.count) == (0 if forgets else 64)


def test_after_too_many_nothing_is_applied_until_the_host_has_seen_it():
    faulty = setup(max_skipped=1)
    stream = batches(Numbers(), seed=0, batch_size=8)
    state = init_state(faulty, next(stream))._replace(step=jnp.asarray(2, jnp.int32))
    step = jax.jit(lambda s, b: train_step(faulty, s, b))
    after, _ = step(state, next(stream))
    later, metrics = step(after, next(stream))  # step 3 by itself is a good one
    assert np.isfinite(metrics["loss"])
    assert same(content(later), content(state))
    assert int(later.nonfinite) == 2


EDITED = (
    {"ids": [0, 1, 2, 3, 4, 5, 6, 64]},
    {"ids": [0] * 9},
    {"ids": ["0"] * 8},
    {"step": 0},
    {"step": 2**31},
    {"step": True},
    {"mesh": {"data": 1}},
    {"mesh": None},
    {"found": {"values": {"loss": "much"}, "nonfinite": {}}},
    {"dtypes": {}},
    {"run": 3},
)


@pytest.mark.parametrize(("kind", "value"), [("nan_at", "nan"), pytest.param("inf_at", "inf", marks=pytest.mark.slow)])
def test_a_crash_bundle_shows_the_same_again(tmp_path, capsys, kind, value):
    workdir = tmp_path / "run"
    options = [f"--config.objective.{kind}=(9, 10, 11)", "--config.optimizer.max_nonfinite_steps=3"]
    run = trained(workdir, *options, code=2)
    bundle = workdir / "crash" / "step_12"
    assert f"ssl-jax replay {bundle}" in run.said()
    assert "none of them was applied" in run.said()
    record = json.loads((bundle / "bundle.json").read_text())
    assert len(record["ids"]) == 8
    assert "gradient/encoder/Dense_0/kernel" in record["found"]["nonfinite"]
    assert not [name for name in record["found"]["nonfinite"] if name.startswith(("params", "views"))]
    arguments = ["replay", str(bundle), "--allow", "fault_objective"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert said.rstrip().endswith("reproduced")
    assert f"{value:>14} {value:>14}" in said
    assert "not finite in gradient/encoder/Dense_0/kernel: 128 values in the run, 128 now" in said
    # A bundle whose step was healthy does not pretend.
    (bundle / "bundle.json").write_text(json.dumps(record | {"step": 5}))
    assert main(arguments) == 1
    assert "not reproduced" in capsys.readouterr().out
    assert main(["replay", str(bundle)]) == 2  # code from outside must be allowed by name
    assert main(["replay", str(tmp_path)]) == 2
    assert "is not a crash bundle" in capsys.readouterr().err
    # Nor does one that was put together from two, or that another run left.
    (bundle / "config.json").write_text((bundle / "config.json").read_text().replace('"seed": 0', '"seed": 1'))
    assert main(arguments) == 2
    assert (
        "config.json has another SHA-256 than when it was written; its files do not belong" in capsys.readouterr().err
    )
    (bundle / "bundle.json").write_text(json.dumps(record | {"files": {}, "run": "other"}))
    assert main(arguments) == 2
    assert "was left by another run (other; this one is " in capsys.readouterr().err
    # Nor one that was edited, or is no file at all.
    for edited in EDITED:
        (bundle / "bundle.json").write_text(json.dumps(record | {"files": {}} | edited))
        assert main(arguments) == 2, edited
    for content in (b"[" * 100_000, b'{"step": "\xff"}', b""):
        (bundle / "bundle.json").write_bytes(content)
        assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ([], "No checkpoint was made yet"),
        ([3, 4], "The checkpoint of step 4 is from before these parameters, and the same command resumes there"),
        (
            [4, 5],
            "checkpoint of step 5; unless it is the examples, move it away, and the same command resumes at step 4",
        ),
        ([5, 6], "checkpoints of steps 5, 6; no kept checkpoint is good: unless it is the examples, start in another"),
    ],
)
def test_what_is_kept_is_said_to_be_good_or_not(kept, said):
    assert said in what_is_kept(kept, applied=5)


def test_norms_that_are_not_finite_are_named():
    params = {"a": jnp.ones(3), "b": jnp.full(2, 1e30), "n": jnp.ones(2, jnp.int32)}
    state = TrainState(jnp.asarray(7), 0, 0, params, {"m": jnp.asarray([1.0, jnp.nan])}, ())
    with pytest.raises(UserError, match=r"step 7 left parameters that cannot be used: .* in params/b, extra/m\."):
        UsableCheck(state)(state)
    fine = state._replace(params={"a": jnp.ones(3)}, extra={})
    UsableCheck(fine)(fine)


@pytest.mark.parametrize(("lr", "total", "saved"), [("1e30", 2, []), ("1e10", 24, [1, 2]), ("1e10", 2, [])])
def test_parameters_that_cannot_be_used_are_not_saved(tmp_path, lr, total, saved):
    workdir = tmp_path / "run"
    options = [f"--config.optimizer.lr={lr}", f"--config.total_steps={total}", "--config.checkpoint.every_steps=1"]
    run = trained(workdir, *options[: 2 if total == 2 else 3], "--config.log.tensorboard=True", code=2)
    assert saved_steps(workdir) == saved  # not while steps are left out, which would push the good ones out
    told = (
        "left parameters that cannot be used" if total == 2 else "move it away, and the same command resumes at step 1"
    )
    assert told in run.said()


@pytest.mark.slow
def test_a_few_bad_steps_are_left_out_and_the_run_goes_on(tmp_path, straight):
    workdir = tmp_path / "run"
    options = ["--config.objective.nan_at=(5,)", "--config.objective.inf_at=(6,)", "--config.mesh.steps_per_dispatch=4"]
    run = trained(workdir, *options)
    assert "step 6: loss or gradient is not finite; the step was not applied (1 in a row)" in run.said()
    assert "step 7: loss or gradient is not finite; the step was not applied (2 in a row)" in run.said()
    np.testing.assert_allclose(
        [losses(workdir)[s] for s in range(1, 6)], [losses(straight)[s] for s in range(1, 6)], rtol=1e-5
    )
    assert not (workdir / "crash").exists()


# --- a device that computes wrongly


@pytest.fixture(scope="module")
def replicated():
    """A state on a 4 x 2 mesh, where large leaves are split over fsdp: a sharded tree and its check."""
    mesh = make_mesh(data=4, fsdp=2)
    faulty = Setup(Faulty(Flat(512), Plain()), setup().optimizer, 0, 24)
    batch = {
        k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in next(batches(Numbers(), seed=0, batch_size=8)).items()
    }
    like = state_like(faulty, batch, mesh)
    data = next(batches(Numbers(), seed=0, batch_size=8))
    state = jax.device_put(init_state(faulty, data), jax.tree.map(lambda x: x.sharding, like))
    return state, ReplicaCheck(mesh, like)


def corrupted(x, number):
    """`x` with one bit flipped in the copy of device `number`."""
    pieces = []
    for shard in x.addressable_shards:
        data = np.array(shard.data)
        if shard.device.id == number:
            data.reshape(-1).view(np.uint8)[0] ^= 1
        pieces.append(jax.device_put(data, shard.device))
    return jax.make_array_from_single_device_arrays(x.shape, x.sharding, pieces)


def test_equal_copies_pass_and_one_flipped_bit_names_its_device(replicated):
    state, check = replicated
    check(state)
    kernel = state.params["encoder"]["Dense_0"]["kernel"]
    assert not kernel.sharding.is_fully_replicated  # split over fsdp: four copies of each half
    for number in (0, 5):
        wrong = {"encoder": {"Dense_0": state.params["encoder"]["Dense_0"] | {"kernel": corrupted(kernel, number)}}}
        with pytest.raises(UserError) as caught:
            check(state._replace(params=wrong))
        lines = [line for line in str(caught.value).splitlines() if line.startswith("  ")]
        assert lines == [f"  device {number} (cpu) of process 0: params/encoder/Dense_0/kernel"]
    with pytest.raises(UserError, match=r"device 3 .*: step"):
        check(state._replace(step=corrupted(state.step, 3)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "uint8", "bool", "int8"])
def test_every_flipped_bit_changes_the_sum(dtype):
    x = jnp.ones((5,), dtype)
    bits = np.array(x).view(np.uint8)
    sums = set()
    for bit in range(1 if dtype == "bool" else 8 * x.dtype.itemsize):
        flipped = bits.copy()
        flipped[bit // 8] ^= 1 << bit % 8
        sums.add(int(bit_sum(jnp.asarray(flipped.view(np.array(x).dtype)))))
    assert int(bit_sum(x)) not in sums


WRONG_DEVICE = """
import jax, numpy as np
from ssl_jax.training import run as train
compiled = train.compiled
def wrong(setup, count, like):
    step = compiled(setup, count, like)
    def run(state, batch):
        state, metrics = step(state, batch)
        if int(state.step) == 5:
            layer = state.params["encoder"]["Dense_0"]
            x = layer["bias"]
            pieces = [jax.device_put(np.array(s.data) + (s.device.id == 6), s.device) for s in x.addressable_shards]
            layer["bias"] = jax.make_array_from_single_device_arrays(x.shape, x.sharding, pieces)
        return state, metrics
    return run
train.compiled = wrong
"""


def test_a_run_on_a_wrong_device_stops_before_it_saves(tmp_path):
    run = trained(tmp_path / "run", prepare=WRONG_DEVICE, code=2, **EIGHT)
    assert "device 6 (cpu) of process 0: " in run.said()
    assert "params/encoder/Dense_0/bias" in run.said()
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
