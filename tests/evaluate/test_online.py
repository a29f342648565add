"""The check during training: what it measures, from one reading of the records."""

from dataclasses import dataclass
from types import SimpleNamespace

import jax
import numpy as np

from ssl_jax.evaluate.features import collect, extract
from ssl_jax.evaluate.online import OnlineCheck
from ssl_jax.evaluate.probes.health import embedding_measures, measures
from ssl_jax.objectives.base import Encoder


@dataclass(frozen=True)
class Doubling:
    """Compares twice the features."""

    encoder: Encoder

    def encoders(self):
        return {"encoder": self.encoder}

    def embeddings(self, params, extra, batch):
        return {"twice": 2 * self.encoder.features({"params": params["encoder"]}, batch)}

    def assignments(self, params, extra, batch):
        return {}


def test_every_record_is_read_once_for_features_and_embeddings(encoder, variables, make_signals):
    source, read = make_signals(300, 0), []

    @dataclass(frozen=True)
    class Counted:
        classes = source.classes

        def __len__(self):
            return len(source)

        def __getitem__(self, index):
            read.append(index)
            return source[index]

    recipe = SimpleNamespace(
        seed=0, health=SimpleNamespace(views=0),
        evaluate=SimpleNamespace(encoder="encoder", health_examples=300, label="label", target=""),
        data=SimpleNamespace(probe=SimpleNamespace(build=Counted), pretrain=None, max_bad_fraction=0.0),
    )  # fmt: skip
    state = SimpleNamespace(params={"encoder": variables["params"]}, extra={})
    found = OnlineCheck(recipe, Doubling(encoder))(state)
    assert sorted(set(read)) == list(range(300))
    assert len(read) == 512  # two batches of 256; the second is filled up with its last record
    x = extract(encoder, variables, source).x
    compared = jax.jit(lambda batch: Doubling(encoder).embeddings(state.params, {}, batch))
    z = collect(compared, source)["twice"].x
    np.testing.assert_allclose(z, 2 * x, rtol=1e-6)
    for name, value in (measures(x) | embedding_measures(z)).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)
    assert found["health"] == "healthy"
    assert found["probe_accuracy"] > 0.5
