"""What a card counts is counted so, and its coverage is that of the paper's equations."""

import json

import numpy as np
import pytest

from ssl_jax.audit.card import balance, card
from ssl_jax.audit.coverage import coverage
from ssl_jax.audit.named import Named
from ssl_jax.cli import main
from ssl_jax.data.sources import Arrays
from ssl_jax.errors import UserError
from ssl_jax.recipe.values import fits
from ssl_jax.report.data_card import CARD, panel


def by_the_equations(x, reference, k):
    """Naeem et al. 2020, equations 1 to 4, one distance at a time."""
    apart = lambda a, b: np.linalg.norm(a - b)  # noqa: E731
    radius = lambda rows, i: sorted(apart(rows[i], r) for n, r in enumerate(rows) if n != i)[k - 1]  # noqa: E731
    balls, own = [radius(reference, i) for i in range(len(reference))], [radius(x, j) for j in range(len(x))]
    inside = np.array([[apart(y, r) <= ball for r, ball in zip(reference, balls, strict=True)] for y in x])
    recalled = np.array([[apart(y, r) <= ball for y, ball in zip(x, own, strict=True)] for r in reference])
    return inside.any(1).mean(), recalled.any(1).mean(), inside.sum() / (k * len(x)), inside.any(0).mean()


@pytest.mark.parametrize("k", [1, 3])
def test_coverage_is_that_of_the_equations(k, monkeypatch):
    monkeypatch.setattr("ssl_jax.audit.coverage.BLOCK", 7)
    rng = np.random.default_rng(k)
    x, reference = rng.normal(0, 1, (30, 4)), rng.normal(0.8, 1, (25, 4))
    np.testing.assert_allclose(coverage(x, reference, k)[:4], by_the_equations(x, reference, k), rtol=1e-12)


def test_a_set_covers_itself_and_not_what_is_far_away():
    x = np.random.default_rng(0).normal(0, 1, (60, 8))
    same, apart = coverage(x, x), coverage(x, x + 100)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    assert (apart.precision, apart.recall, apart.density, apart.coverage) == (0, 0, 0, 0)


def set_of(count=40, seed=0, **columns):
    image = np.random.default_rng(seed).integers(0, 255, (count, 12, 16, 1)).astype(np.uint8)
    return Arrays({"image": image, **columns}, classes=("cat", "dog"))


def test_balance_counts_labels_by_name_and_every_column_of_words_or_whole_numbers():
    label = np.array([0] * 30 + [1] * 10, np.int32)
    found = balance(set_of(label=label, site=np.arange(40) % 3))
    assert found == {"label": {"cat": 30, "dog": 10}, "site": {"0": 14, "1": 13, "2": 13}}


def test_the_card_says_what_the_reference_has_that_the_data_has_not():
    label = np.arange(160) % 2
    source = set_of(80, label=np.zeros(80, np.int32))
    reference = set_of(160, 1, label=label)
    features = {id(source): np.zeros((80, 1)), id(reference): 50.0 * label[:, None]}  # dogs lie elsewhere
    noise = np.random.default_rng(0).normal(0, 1, (160, 3))

    def embed(one, ids):
        return np.concatenate([features[id(one)][ids], noise[ids]], axis=1)

    made = card(Named("mine", source), Named("all", reference), embed)
    assert fits(made, CARD)
    by = made["coverage"]["by"]["label"]
    assert by["dog"] == [80, 0.0]
    assert by["cat"][1] > 0.9
    shown = "".join(panel(made))
    assert "By label, the least covered first" in shown
    assert shown.index("dog") < shown.rindex("cat")


def test_the_command_writes_the_card(tmp_path, capsys):
    assert main(["data", "card", "embedded:probe?limit=40", "--out", str(tmp_path)]) == 0
    made = json.loads((tmp_path / "card.json").read_text())
    assert (made["records"], made["pictures"]["heights"], sum(made["balance"]["label"].values())) == (
        40,
        [28, 28, 28],
        40,
    )
    assert "Balance of label" in (tmp_path / "card.html").read_text()
    assert "label: " in capsys.readouterr().out


def test_a_reference_needs_an_encoder():
    with pytest.raises(UserError, match="--reference needs --encoder"):
        card(Named("a", set_of()), Named("b", set_of()))
