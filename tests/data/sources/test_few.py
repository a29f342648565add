"""Few labels, named lists and balanced classes: which records, and that the order is a pure function of the cursor."""

import numpy as np
import pytest

from ssl_jax.data.order import order_of
from ssl_jax.data.sources import Arrays, Balanced, FewLabels, Named
from ssl_jax.errors import UserError
from ssl_jax.evaluate.splits import draw

LABELS = np.array([0] * 40 + [1] * 10 + [2] * 5 + [-1] * 3, np.int32)


UNLABELLED = Arrays({"image": np.zeros((2, 1, 1, 1), np.uint8)})


class Records:
    """Labels, some of them -1."""

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        return {"label": LABELS[index]}

    def fingerprint(self):
        return "few"

    def values(self, name):
        return LABELS if name == "label" else None


class Files(Records):
    """Records with names."""

    def name_of(self, index):
        return f"class/{index:03}.png"


def source(kind=Records):
    return kind()


def test_a_draw_is_that_of_the_probe_and_the_rest_is_everything_else():
    few = FewLabels(source(), per_class=4, draw=1, seed=3)
    np.testing.assert_array_equal(few.ids, draw(LABELS[LABELS >= 0], 4, 3, 1))
    rest = FewLabels(source(), per_class=4, draw=1, seed=3, rest=True)
    assert sorted([*few.ids, *rest.ids]) == list(range(55))
    assert few.fingerprint() != FewLabels(source(), per_class=4, draw=2, seed=3).fingerprint()


def test_a_share_of_each_class_holds_the_smaller_ones():
    ten, half = (FewLabels(source(), percent=percent) for percent in (10, 50))
    assert np.bincount(ten.values("label")).tolist() == [4, 1, 1]  # at least one
    assert set(ten.ids) < set(half.ids)


def test_a_list_names_records_by_path_or_file(tmp_path):
    names = tmp_path / "few.txt"
    names.write_text("class/003.png\n041.png\n")
    assert Named(source(Files), str(names)).ids.tolist() == [3, 41]
    assert len(Named(source(Files), str(names), rest=True)) == len(LABELS) - 2
    names.write_text("class/003.png\n999.png\n")
    with pytest.raises(UserError, match=r"1 of 2 names.*'999.png'"):
        Named(source(Files), str(names))


def test_balanced_draws_every_class_equally_often_and_goes_through_its_records():
    balanced = Balanced(source())
    ids, epochs = order_of(balanced, 0, np.arange(120))
    labels = balanced.values("label")[ids]
    assert (np.sort(labels.reshape(-1, 3), 1) == [0, 1, 2]).all()
    assert len(set(zip(ids.tolist(), epochs.tolist(), strict=True))) == 120  # each record once an epoch of its class
    assert len(set(ids[labels == 0])) == 40
    later = order_of(balanced, 0, np.arange(70, 90))
    np.testing.assert_array_equal(later[0], ids[70:90])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FewLabels(source()), "per_class=N records"),
        (lambda: FewLabels(source(), per_class=6), "class 2 has 5"),
        (lambda: FewLabels(source(), percent=0.0), "more than 0"),
        (
            lambda: FewLabels(Arrays({"image": np.zeros((2, 1, 1, 1), np.uint8)}), per_class=1),
            "no record of the source has a 'label'",
        ),
        (lambda: Named(source(), "none.txt"), "no list at|has no names"),
    ],
)
def test_what_has_no_labels_or_names_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
