"""`ssl-jax eval` on the devices that are here, which need not be those of the run."""

from contextlib import closing
from functools import partial

import jax
import numpy as np
import pytest

from ssl_jax.arguments import parse_arguments
from ssl_jax.checkpoint.store import Checkpoints
from ssl_jax.data.bad import BadRecords
from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import extract
from ssl_jax.recipe import load, parse, to_json
from ssl_jax.training.reopen import mesh_here, recipe_of, reopened
from ssl_jax.training.run import batch_like, build
from ssl_jax.training.step import init_state

SMALL = ("--config.model.depth=1", "--config.model.width=32", "--config.model.heads=2")


def recipe_on(**mesh):
    changes = [f"--config.mesh.{k}={v}" for k, v in mesh.items()]
    config = load("mae_vit_fashion:tiny", [*SMALL, "--config.batch_size=16", *changes])
    return config, parse(config)


@pytest.mark.parametrize(
    ("mesh", "here"),
    [
        ({}, (8, 1, 1)),
        ({"fsdp": 256}, (1, 8, 1)),
        ({"fsdp": -1, "data": 1}, (1, 8, 1)),
        ({"fsdp": 12, "tensor": 2}, (1, 4, 2)),
        ({"fsdp": 2}, (4, 2, 1)),
        ({"fsdp": 3, "tensor": 5}, (8, 1, 1)),
    ],
)
def test_parameters_are_shared_out_as_in_training_over_the_devices_that_divide(mesh, here):
    assert tuple(mesh_here(recipe_on(**mesh)[1]).shape.values()) == here


def test_features_of_a_sharded_run_are_those_of_one_device(tmp_path, monkeypatch):
    monkeypatch.setattr("ssl_jax.devices.mesh.SMALLEST_SPLIT", 64)
    config, recipe = recipe_on(fsdp=8)
    source = recipe.data.probe.build()
    setup = build(recipe, len(source))
    zeros = {k: np.zeros(x.shape, x.dtype) for k, x in batch_like(source, 16, BadRecords(0.0)).items()}
    fresh = jax.jit(partial(init_state, setup))(zeros)
    with closing(Checkpoints(tmp_path / "checkpoints")) as saved:
        saved.save(0, fresh, {"recipe": to_json(config)})
        saved.finish()

    opened = reopened(tmp_path, recipe)
    objective, state = opened.objective, opened.state
    kernel = state.params["encoder"]["transformer"]["blocks"]["fc1"]["kernel"]
    assert kernel.addressable_shards[0].data.size == kernel.size // 8
    encoder = objective.encoders()["student"]
    with jax.set_mesh(mesh_here(recipe)):
        sharded = extract(encoder, encoder.variables(state), source, batch_size=64)
    alone = extract(encoder, jax.device_get(encoder.variables(fresh)), source, batch_size=64)
    np.testing.assert_allclose(sharded.x, alone.x, rtol=1e-4, atol=1e-5)


def test_only_how_a_run_is_evaluated_can_be_changed(tmp_path):
    (tmp_path / "config.json").write_text(to_json(recipe_on()[0]))
    found = recipe_of(tmp_path, overrides=["--config.evaluate.shots=2,3", "--config.evaluate.draws=1"])
    assert (found.evaluate.shots, found.evaluate.draws) == ((2, 3), 1)
    arguments = ["eval", "--workdir", "x", "--config.evaluate.draws=1"]
    assert parse_arguments(arguments).overrides == arguments[-1:]
    for command, other in (("eval", "--config.evaluate=x"), ("eval", "--config.seed=3"), ("report", arguments[-1])):
        with pytest.raises(UserError, match=f"{command} takes no '{other}'"):
            parse_arguments([command, *arguments[1:], other])
