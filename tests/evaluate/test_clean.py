"""Probes on the clean test records are those of a test set without the others; audits of other data are refused."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from ssl_jax.data.sources import Arrays
from ssl_jax.data.sources.subset import Labelled
from ssl_jax.errors import UserError
from ssl_jax.evaluate.clean import Audit, Beside, beside, read_audit, without
from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.instruments import needs_of, refusal
from ssl_jax.evaluate.probes.knn import Probe as Knn
from ssl_jax.evaluate.suite import Settings, evaluate, row_of, table


def split_of(count=40, seed=0):
    rng = np.random.default_rng(seed)
    y = (np.arange(count) % 2).astype(np.int32)
    part = lambda shift: Features(  # noqa: E731
        (y[:, None] + rng.normal(shift, 0.8, (count, 3))).astype(np.float32), y, np.arange(count, dtype=np.int32)
    )
    return Split(part(0), part(0.1), 2)


AUDIT = Audit("audit.json", np.array([0, 3, 5, 39]), 40, "folder:/photos")


def test_a_probe_beside_itself_is_the_probe_on_all_and_on_the_records_that_are_left():
    split, probe = split_of(), Knn()
    left = np.setdiff1d(np.arange(40), AUDIT.unclean)
    both = Beside(probe, AUDIT).run(split)
    whole, clean = probe.run(split), probe.run(Split(split.train, split.test.take(left), 2))
    assert both["accuracy"] == whole["accuracy"]
    assert both["clean_accuracy"] == clean["accuracy"]
    assert len(both.get("records", {}).get("correct", np.zeros(40))) == 40, "records are those of all"


def test_columns_and_protocol_say_what_was_left_out():
    probe = beside({"knn": Knn(), "health": SimpleNamespace()}, AUDIT)
    assert isinstance(probe["health"], SimpleNamespace)
    titles = [column["title"] for column in probe["knn"].columns]
    assert titles == [title for each in Knn().columns for title in (each["title"], f"{each['title']}, clean")]
    assert "without the 4 of 40 test records that audit.json finds in folder:/photos" in probe["knn"].protocol
    assert refusal(probe["knn"], split_of()) is None
    assert needs_of(probe["knn"]) == ()
    assert beside({"knn": Knn()}, Audit("a", np.array([], int), 40, "b")) == {"knn": Knn()}


def test_what_learns_from_few_labels_is_trained_once_and_tested_twice():
    split, calls = split_of(), []

    def learn(rows):
        calls.append(len(rows))
        return Split(split.train.take(rows), split.test, 2)

    @dataclass(frozen=True)
    class Few:
        columns = ({"title": "few", "value": "tested", "unit": "number"},)
        protocol = "few labels"

        def run(self, split):
            return {"tested": [len(split.subset(np.arange(n)).test.x) for n in (4, 8)]}

    found = Beside(Few(), AUDIT).run(Split(split.train, split.test, 2, learn=learn))
    assert found == {"tested": [40, 40], "clean_tested": [36, 36]}
    assert calls == [4, 8]


def test_towers_and_readings_lose_the_same_records():
    split = split_of()
    whole = Split(
        split.train, split.test, 2, towers={"text": split}, readings={"mean": split}, again=lambda change: split.test
    )
    clean = without(whole, AUDIT.unclean)
    parts = (clean.test, clean.towers["text"].test, clean.readings["mean"].test, clean.again(None))
    assert [len(part.x) for part in parts] == [36] * 4


class Partly:
    """Six records, of which the second and the fourth have no label."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return {"image": IMAGES[index], "label": self.values("label")[index]}

    def values(self, name):
        return np.array([0, -1, 1, -1, 1, 0]) if name == "label" else None

    def fingerprint(self):
        return "partly"


IMAGES = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 1)).astype(np.uint8)


def audit_of(tmp_path, source, unclean=(1, 4), **changes):
    known = {"source": "b", "records": len(source), "fingerprint": source.fingerprint(), "names": ""}
    content = {"unclean": list(unclean), "sets": {"pretrain": {**known, "source": "a"}, "eval": known | changes}}
    (tmp_path / "audit.json").write_text(json.dumps(content))
    return tmp_path / "audit.json"


def test_an_audit_numbers_the_records_of_the_source_before_those_without_labels_went(tmp_path):
    source = Partly()
    path = audit_of(tmp_path, source)
    assert read_audit(path, source).unclean.tolist() == [1, 4]
    assert read_audit(path, Labelled(source)).unclean.tolist() == [2], "record 4 is the third that has a label"


def test_audits_that_are_none_or_of_other_data_are_refused(tmp_path):
    source = Arrays({"image": IMAGES})
    for changes, told in (({"fingerprint": "0"}, "not of this run's data.test"), ({"records": 5}, r"5 records")):
        with pytest.raises(UserError, match=told):
            read_audit(audit_of(tmp_path, source, **changes), source)
    with pytest.raises(UserError, match="every one of the 6 test records"):
        read_audit(audit_of(tmp_path, source, range(6)), source)
    (tmp_path / "audit.json").write_text("[]")
    with pytest.raises(UserError, match="not what `ssl-jax audit"):
        read_audit(tmp_path / "audit.json", source)


def test_the_table_of_an_evaluation_has_the_clean_numbers_beside_the_others(encoder, variables, make_signals):
    audit = Audit("audit.json", np.array([0, 1, 2]), 60, "a")
    settings = Settings(probes=("knn",), baselines=())
    results = evaluate({"x": (encoder, variables)}, make_signals(80, 0), make_signals(60, 1), settings, audit=audit)
    row = results["rows"][row_of("x")]
    assert {"accuracy", "clean_accuracy"} <= set(row["knn"])
    assert not any(name.startswith("clean_") for name in row["health"])
    assert "without the 3 of 60" in results["protocol"]["knn"]
    assert ", clean" in table(results).splitlines()[0]
