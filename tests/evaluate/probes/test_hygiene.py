"""No probe chooses anything by the labels that it is tested on."""

import pkgutil
from dataclasses import fields as options_of
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from ssl_jax.evaluate import probes
from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.instruments import asks_of, encoders_of, fields_of, needs_of

NAMES = sorted(module.name for module in pkgutil.iter_modules(probes.__path__))
# What is small enough to be tried here, for options of these names in any probe.
SMALL = {
    "rates": (1e-3, 0.1), "decays": (0.0, 0.1), "epochs": 2, "steps": 3, "batch": 8, "batch_size": 16, "hidden": 4, "heads": 2,
    "k": (1, 3, 5), "temperature": (0.07, 1.0), "shots": (4,), "draws": 2, "bins": 4, "severities": (1,), "restarts": 1,
    "least": 4, "fields": ("score",),
}  # fmt: skip
# A probe that takes one of them; and what of a result may be chosen where a probe does not say what it chooses.
ONE = {"anomaly": {"k": 3}, "outliers": {"k": 3}, "robustness": {"corruptions": ("gaussian_noise",)}}
CHOICES = ("C", "k", "rate", "decay", "strength", "temperature", "reading", "depth", "threshold", "held_out")
# Fields of the records by name, for probes that ask for them: shape of one, and the largest number.
FIELDS = {
    "segments": ((8, 8), 3), "depth": ((8, 8), 9), "anomaly": ((16,), 1), "labels": ((16,), 2), "score": ((), 5),
    "series": ((16, 2), 9), "valid": ((16, 2), 1), "future": ((32, 2), 9), "future_valid": ((32, 2), 1),
}  # fmt: skip
LIBRARIES = {"minirocket": "aeon"}  # what a probe needs that is not always there


def part(count, seed):
    rng = np.random.default_rng(seed)
    y = (np.arange(count) % 3).astype(np.int32)
    tokens = (np.eye(3, 8)[y][:, None] + rng.standard_normal((count, 16, 8))).astype(np.float32)
    known = {name: rng.integers(0, top + 1, (count, *shape)) for name, (shape, top) in FIELDS.items()}
    fields = known | {"depth": 1.0 + known["depth"]}
    marks = (y[:, None] == np.arange(2)) ^ (rng.random((count, 2)) < 0.2)
    return Features(tokens.mean(1), y, np.arange(count), marks.astype(np.float32), fields), tokens


def split_for(probe, shuffled):
    """The same features always, and all that is known of the test records in another order."""
    (train, seen), (test, asked) = part(60, 0), part(48, 1)
    if shuffled:
        order = np.random.default_rng(2).permutation(48)
        told = {name: values[order] for name, values in test.fields.items()}
        test = test._replace(y=test.y[order], target=test.target[order], fields=told)
    tokens = Split(train._replace(x=seen, grid=(4, 4)), test._replace(x=asked, grid=(4, 4)), 3)
    own = Split(
        train, test, 3, again=lambda transform: test, readings=dict.fromkeys(needs_of(probe), tokens), names=("a", "b", "c"),
        read=dict.fromkeys(asks_of(probe), lambda texts: np.eye(len(texts), 8)),
    )  # fmt: skip
    if fields_of(probe) and getattr(probe, "tokens", False):
        own = tokens
    return replace(own, towers=dict.fromkeys(encoders_of(probe), own))


def told(result, keys):
    """What a result holds under `keys`, at any depth."""
    if isinstance(result, dict):
        return [(k, v) if k in keys else told(v, keys) for k, v in result.items() if k != "records"]
    return [told(v, keys) for v in result] if isinstance(result, list) else []


def check(probe):
    seen, blind = (probe.run(split_for(probe, shuffled)) for shuffled in (False, True))
    keys = getattr(probe, "chosen", CHOICES)
    assert all(repr(key) in repr(told(seen, keys)) for key in getattr(probe, "chosen", ())), (
        "a choice that is nowhere told"
    )
    assert repr(told(seen, keys)) == repr(told(blind, keys)), "a choice moved"
    for kept in {"predicted", "probability"} & seen.get("records", {}).keys():
        np.testing.assert_array_equal(seen["records"][kept], blind["records"][kept])


@pytest.mark.parametrize("name", NAMES)
def test_shuffled_test_labels_change_no_choice_and_no_prediction(name):
    if name in LIBRARIES:
        pytest.importorskip(LIBRARIES[name])
    kind = import_module(f"ssl_jax.evaluate.probes.{name}").Probe
    small = {option.name: SMALL[option.name] for option in options_of(kind) if option.name in SMALL}
    check(kind(**small | ONE.get(name, {})))


class Cheat:
    """The feature that the test labels follow most."""

    def run(self, split):
        along = np.abs(np.cov(split.test.x.T, split.test.y)[-1, :-1])
        return {"best": [{"k": int(along.argmax())}]}


class Silent(Cheat):
    chosen = ("C",)


def test_a_probe_that_chooses_by_the_test_labels_or_does_not_tell_what_it_chose_is_found_out():
    with pytest.raises(AssertionError, match="a choice moved"):
        check(Cheat())
    with pytest.raises(AssertionError, match="nowhere told"):
        check(Silent())
