"""Methods without the part that keeps them from collapse are called collapsed within 300 steps; with it, they are not.

The figures are in docs/results/collapse.md.
"""

import pytest
from collapse_runs import CASES, STEPS, run

from ssl_jax.evaluate.probes.health import COLLAPSED

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.recipe} without {case.without}")
def test_without_its_part_the_run_is_called_collapsed(case):
    found = run(case, whole=False)
    assert found.collapsed_at is not None, (found.verdicts, found.history)
    assert 0 < found.collapsed_at <= STEPS


@pytest.mark.parametrize("case", dict.fromkeys(case.proper for case in CASES), ids=lambda case: case.recipe)
def test_with_all_of_its_parts_it_is_not(case):
    found = run(case, whole=True)
    assert COLLAPSED not in found.verdicts, found.history
