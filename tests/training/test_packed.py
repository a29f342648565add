"""Packed rows of texts: a run that begins again in the middle of an epoch is the one that never stopped, to the last bit."""

import json
import shutil

import jax
import numpy as np
import pytest

from ssl_jax.cli import main
from ssl_jax.training.reopen import open_run

# 100 packed rows in batches of 16: an epoch ends behind row 4 of step 7, and step 10 lies in the second.
SHORT = ["--config.total_steps=13", "--config.checkpoint.every_steps=5", "--config.log.every_steps=1"]


def losses(run):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["causal_gpt_wordnet", "mlm_bert_wordnet"])
def test_resumed_in_the_middle_of_a_packed_epoch_is_straight(tmp_path, recipe):
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    words = ["train", "--config", f"{recipe}:tiny", *SHORT, "--workdir"]
    assert main([*words, str(straight)]) == 0
    shutil.copytree(straight, resumed)
    shutil.rmtree(resumed / "checkpoints" / "13")
    assert main([*words, str(resumed)]) == 0
    assert "resumed at step 10 of 13" in (resumed / "train.log").read_text()
    assert losses(resumed) == losses(straight)
    assert sorted(losses(straight)) == list(range(1, 14))
    jax.tree.map(np.testing.assert_array_equal, open_run(resumed).state, open_run(straight).state)
