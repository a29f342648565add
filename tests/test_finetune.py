"""`ssl-jax finetune`: what it makes of a run's recipe, what it refuses, and that it resumes to the last bit."""

import json

import jax
import numpy as np
import pytest

from ssl_jax.cli import main
from ssl_jax.errors import UserError
from ssl_jax.recipe import load
from ssl_jax.recipe.fragments.finetune import of_pretrained, plain_finetuning
from ssl_jax.recipe.values import plain

BEFORE = plain(load("simclr_vit_fashion:tiny"))


def test_a_run_gives_model_and_evaluation_and_the_recipe_the_rest():
    recipe = plain(load("finetune_vit_fewlabels:lora", ["--config.model.drop_path=0.1"]))
    made = of_pretrained(recipe, BEFORE | {"augment": BEFORE["augment"] | {"mean": (0.1,)}}, "/runs/x")
    assert made["model"] == BEFORE["model"] | {"drop_path": 0.1, "remat": "none", "cells": recipe["model"]["cells"]}
    assert made["augment"]["mean"] == (0.1,)
    assert made["augment"]["views"] == recipe["augment"]["views"]
    assert made["init_from"]["workdir"] == "/runs/x"
    assert made["objective"] == recipe["objective"]


def test_without_a_recipe_all_of_the_encoder_learns_the_labels_of_the_probe_source():
    made = plain_finetuning(BEFORE)
    assert made["data"]["pretrain"] == BEFORE["data"]["probe"]
    assert made["objective"]["adapt"]["target"] == "ssl_jax.adapt.base:Full"
    assert made["optimizer"]["layer_decay"] == 0.75


def test_several_encoders_and_other_inputs_are_refused():
    recipe = plain(load("finetune_vit_fewlabels"))
    with pytest.raises(UserError, match="several encoders \\(image, text\\)"):
        of_pretrained(recipe, BEFORE | {"model": {"image": {}, "text": {}}}, "x")
    with pytest.raises(UserError, match=r"pretrained on views of ssl_jax\.data\.text"):
        of_pretrained(recipe, BEFORE | {"augment": {"target": "ssl_jax.data.text.views:TextViews"}}, "x")


TINY = ["--from", "none", "--config", "finetune_vit_fewlabels:tiny"]
REFUSED = [
    ([], "finetune needs --from DIR"),
    (["--from", "none"], "add --config RECIPE"),
    (["--from", "nowhere"], "nowhere"),
    (["--from", "none", "--config", "simclr_vit_fashion"], "learns no labels"),
    (["--from", "none", "--config", "finetune_vit_fewlabels:best"], "full, linear, last"),
    (
        ["--from", "none", "--config", "finetune_vit_fewlabels:tiny", "--config.objective.classes=7"],
        "classes=7: 'label' goes up to 9",
    ),
    (
        ["--from", "none", "--config", "finetune_vit_fewlabels:tiny", "--config.objective.label=kind"],
        "no such field, only image, label",
    ),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[m for _, m in REFUSED])
def test_what_cannot_be_done_is_one_message_and_exit_code_2(words, message, tmp_path, capsys):
    assert main(["finetune", *words, "--workdir", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err


def losses(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_interrupted_and_resumed_is_uninterrupted_to_the_last_bit(tmp_path):
    """LoRA on the tiny encoder of another run: stopped at half, resumed, and in one go."""
    before = tmp_path / "before"
    assert main(["train", "--config", "simclr_vit_fashion:tiny", "--workdir", str(before)]) == 0
    words = [
        "finetune",
        "--from",
        str(before),
        "--config",
        "finetune_lora_vit_fewlabels:tiny",
        "--config.checkpoint.every_steps=4",
    ]
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    for run in (straight, resumed):
        assert main([*words, "--workdir", str(run)]) == 0
    newest = max((resumed / "checkpoints").iterdir(), key=lambda path: int(path.name))
    for path in sorted(newest.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    newest.rmdir()
    assert main([*words, "--workdir", str(resumed)]) == 0
    kept = ("step", "loss", "accuracy", "test_accuracy")
    told = [[{k: line[k] for k in kept if k in line} for line in losses(run)] for run in (straight, resumed)]
    assert told[0] == told[1]
    assert "test_accuracy" in told[0][-1]
    from ssl_jax.training.reopen import open_run

    states = [open_run(run).state for run in (straight, resumed)]
    jax.tree.map(np.testing.assert_array_equal, *states)
    assert set(states[0].params["encoder"]["transformer"]["blocks"]) == {"proj"}
