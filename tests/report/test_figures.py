"""Neighbours of records of any kind: drawn from the augment's panel of what the encoder is fed, or left out with a reason."""

from types import SimpleNamespace

import numpy as np
import pytest

from ssl_jax.data.panels import Clips, Pictures, Signals, Texts
from ssl_jax.evaluate.features import Features
from ssl_jax.report.figures import Known, _neighbours

LABELS = np.arange(8) % 2
X = np.eye(2, 4, dtype=np.float32)[LABELS] + 0.01 * np.random.default_rng(0).random((8, 4), np.float32)


class Records:
    """Eight records with a number, a label and a text that is no number."""

    classes = ("even", "odd")

    def __getitem__(self, index):
        return {"x": np.float32(index), "label": LABELS[index], "name": f"record {index}"}


def cells(x, *shape):
    return np.broadcast_to(x.reshape(-1, 1, *[1] * len(shape)) / 8, (len(x), 1, *shape))


KINDS = {
    "pictures": lambda x: Pictures(cells(x, 4, 4, 1)),
    "texts": lambda x: Texts([[[(f"number {int(value)}", "")]] for value in x.ravel()]),
    "signals": lambda x: Signals(cells(x, 50)),
    "clips": lambda x: Clips(cells(x, 3, 4, 4, 1)),
}


class OfKind:
    """An augment that draws one kind, and remembers what it was given."""

    def __init__(self, kind):
        self.kind = kind

    def panel(self, views):
        self.views = views
        return {"views": KINDS[self.kind](views["x"])}

    def evaluation(self, batch):
        return batch


def neighbours_by(augment, labels=LABELS, preprocess=dict, split="test"):
    known = Known(Records(), Features(X, labels, np.arange(8)))
    return _neighbours(known, known, SimpleNamespace(preprocess=preprocess), augment, "student", split)


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_are_drawn_whatever_the_records_are(kind):
    augment = OfKind(kind)
    (picture,), reasons = neighbours_by(augment)
    assert reasons == []
    assert set(augment.views) == {"x"}, "the encoder is never given the label"
    assert augment.views["x"].shape == (2 * 7, 1)
    assert [LABELS[int(v)] for v in augment.views["x"][:4, 0]] == [0, 0, 0, 0], "an even query, then its nearest"
    assert picture.name == "neighbours"
    assert picture.png.startswith(b"\x89PNG")
    assert "% of these have the class" in picture.alt


def test_records_without_labels_have_neighbours_too():
    (picture,), _ = neighbours_by(OfKind("texts"), labels=None, split="pretraining")
    assert "class of their query" not in picture.alt
    assert "Pretraining examples and what lies nearest to them among 8 of the pretraining split" in picture.caption
    assert "≠" not in picture.caption


def test_of_several_parts_the_one_that_feeds_the_encoder_draws():
    part = OfKind("signals")
    pictures, reasons = neighbours_by(SimpleNamespace(), preprocess=part.evaluation)
    assert (len(pictures), reasons) == (1, [])
    assert set(part.views) == {"x"}


def test_without_a_panel_the_reason_is_told():
    pictures, (reason,) = neighbours_by(SimpleNamespace())
    assert pictures == []
    assert "SimpleNamespace has no `panel`" in reason


def test_no_query_is_its_own_neighbour_where_two_splits_share_their_records():
    augment = OfKind("signals")
    neighbours_by(augment)
    rows = augment.views["x"].reshape(2, -1)  # a query, then what is nearest to it
    assert [query in near for query, *near in rows.tolist()] == [False, False]
