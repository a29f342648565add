import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.evaluate.instruments import probes_of
from ssl_jax.evaluate.protocols import PROTOCOLS, protocol_named


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_is_made_of_probes_that_say_what_they_do(name):
    protocol = PROTOCOLS[name]
    probes = probes_of(protocol.probes, {"seed": 3, "shots": (10, 100), "draws": 7})
    assert all(probe.protocol for probe in probes.values())
    assert all(getattr(probe, "seed", 3) == 3 for probe in probes.values())
    assert protocol.told(name).keys() == {"name", "reference", "differs", "selected"}
    assert all(protocol.told(name).values())


def test_settings_of_the_recipe_do_not_move_a_protocols_numbers():
    shared = {"seed": 3, "shots": (10, 100), "draws": 7}
    few = probes_of(PROTOCOLS["fewshot"].probes, shared)["fewshot_ridge"]
    assert (tuple(few.shots), few.draws, few.l2) == ((1, 5, 10, 25), 3, 1024)
    wide = probes_of(PROTOCOLS["dinov2-linear"].probes, shared)["linear_sgd"]
    assert len(wide.rates) * len(wide.readings) == 52
    assert len(wide.needs) == 6  # own, the class token of four layers, the mean of the last
    penalties = probes_of(PROTOCOLS["logistic"].probes, shared)["linear"].strengths
    np.testing.assert_allclose(np.log10(penalties), np.linspace(-6, 5, 45), atol=1e-9)


def test_an_unknown_name_is_told_with_those_there_are():
    with pytest.raises(UserError, match="'linear-eval' is unknown; use one of fast, knn20"):
        protocol_named("linear-eval")
