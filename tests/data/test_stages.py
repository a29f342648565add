"""What the time of batches is counted for."""

import time

import pytest

from ssl_jax.data import stages
from ssl_jax.data.stages import stage
from ssl_jax.rundir.log import progress_line


def test_a_stage_inside_another_counts_for_itself_alone_and_once():
    stages.taken()
    with stage("read"):
        time.sleep(0.01)
        with stage("decode"):
            time.sleep(0.03)
    with pytest.raises(ValueError, match="damaged"), stage("decode"):
        raise ValueError("damaged")
    stages.add({"decode": 1.0, "crop": 0.5})
    found = stages.taken()
    assert 0.01 <= found["read"] < 0.03
    assert 1.03 <= found["decode"] < 1.1
    assert found["crop"] == 0.5
    assert stages.taken() == {}


def test_shares_are_of_the_time_of_all_readers_but_placing_is_the_trainers():
    assert stages.shares({"decode": 6.0, "place": 1.0}, elapsed=4.0, readers=2) == {"decode": 0.75, "place": 0.25}


def test_the_progress_line_names_the_slowest_stage_where_there_is_a_wait():
    assert "| data wait 12% (decode) |" in progress_line(1, 2, None, data_wait=0.12, slowest_stage="decode")
    assert "| data wait 0% |" in progress_line(1, 2, None, data_wait=0.001, slowest_stage="decode")
