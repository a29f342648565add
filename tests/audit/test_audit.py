"""Duplicates that were planted are found and named, other pictures are not; what is written can be read, whatever it names."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from planted_pictures import CHANGES, Pictures, audited, photo, planted, scores

from ssl_jax.audit.aligned import laid, shown
from ssl_jax.audit.candidates import candidates
from ssl_jax.audit.frequencies import SIDE, frequencies, mirror_signs
from ssl_jax.audit.named import Named, named
from ssl_jax.audit.page import page
from ssl_jax.audit.run import audit, summary
from ssl_jax.cli import main
from ssl_jax.data.sources import Embedded, ImageFolder
from ssl_jax.errors import UserError


def garments(split, count):
    return list(Embedded(split, limit=count).columns["image"])


@pytest.fixture(scope="module")
def photos():
    rng = np.random.default_rng(5)
    return [photo(rng, *shape) for shape in [(96, 128), (120, 90), (100, 100)] * 25]


@pytest.mark.parametrize("kind", ["garments", "photos"])
def test_planted_duplicates_are_found_and_named_and_nothing_else_is(kind, photos):
    rng = np.random.default_rng(1)
    sets = {
        "garments": (garments("pretrain", 400), garments("test", 200), 40),
        "photos": (photos[:60], photos[60:], 12),
    }
    first, others, each = sets[kind]
    second, truth = planted(first, others, each, rng)
    result = audited(first, second)
    found = scores(result, truth)
    assert found["recall"]["exact"] == found["recall"]["re-encoded"] == found["recall"]["flipped"] == 1
    assert min(found["recall"]["resized"], found["recall"]["cropped"]) >= 0.9
    assert (found["precision"], found["kind"]) >= (0.99, 0.97)
    unclean = {
        j
        for (_, j), name in truth.items()
        if any(p["ids"][1] == j for p in result["pairs"] if p["sets"][0] != p["sets"][1])
    }
    assert set(result["unclean"]) >= unclean
    assert sorted(i for ids in result["unclean_by_kind"].values() for i in ids) == result["unclean"]


def test_what_is_one_picture_does_not_depend_on_the_order_of_the_sets(photos):
    first, second = photos[:10], [CHANGES["cropped"](x, np.random.default_rng(0)) for x in photos[:10]]
    one, other = audited(first, second), audited(second, first)
    pairs = [{tuple(p["ids"][:: (1, -1)[n]]) for p in r["pairs"]} for n, r in enumerate((one, other))]
    assert pairs[0] == pairs[1] == {(i, i) for i in range(10)}


def test_all_records_of_a_picture_are_unclean_and_a_set_is_searched_for_its_own_duplicates(photos):
    mirrored = np.ascontiguousarray(photos[1][:, ::-1])
    first, second = [*photos[:3], photos[0]], [photos[0], photos[5], photos[0], mirrored, photos[6], photos[6]]
    result = audited(first, second)
    assert result["unclean"] == [0, 2, 3]
    assert result["unclean_by_kind"]["flipped"] == [3]
    assert result["pairs_found"]["pretrain"]["exact"] == result["pairs_found"]["eval"]["exact"] == 1
    assert audited(first, second, within=False)["unclean"] == [0, 2, 3]
    alone = audit(Named("a", Pictures(second)))
    assert alone["pairs_found"] == {"pretrain": {"exact": 2, "re-encoded": 0, "resized": 0, "cropped": 0, "flipped": 0}}
    assert "3 of 6 records of eval (50.00 %)" in summary(result)


def test_flat_pictures_are_alike_only_to_the_bit():
    flat = [np.full((20, 20, 3), level, np.uint8) for level in (0, 1, 200, 0)]
    result = audited(flat, [np.full((20, 20, 3), 2, np.uint8)])
    assert [p["ids"] for p in result["pairs"]] == [[0, 3]]


def test_grey_is_the_same_grey_however_it_is_stored(tmp_path, photos):
    grey = photos[0][..., :1]
    for name, picture in {"one": grey[..., 0], "three": np.repeat(grey, 3, axis=2)}.items():
        (tmp_path / name).mkdir()
        Image.fromarray(picture).save(tmp_path / name / "x.png")
    one, three = (Named(name, ImageFolder(tmp_path / name, size=8)) for name in ("one", "three"))
    assert audit(one, three)["pairs"][0]["kind"] == "exact", "the whole pictures, not squares of 8 pixels"


def test_frequencies_of_a_mirrored_picture_change_the_sign_of_odd_columns():
    x = np.random.default_rng(0).integers(0, 255, (3, SIDE, SIDE)).astype(np.uint8)
    np.testing.assert_allclose(frequencies(x[:, :, ::-1], 8), frequencies(x, 8) * mirror_signs(8), atol=1e-5)


def test_a_cut_is_found_where_it_was_made():
    rng = np.random.default_rng(2)
    smooth = shown(
        rng.normal(100, 60, (8, 8, 8)).repeat(4, 1).repeat(4, 2), np.array([[0, 0, 1, 1]] * 8, np.float32), SIDE
    )
    truth = np.array([[0.02, 0.05, 0.93, 0.95]] * 8, np.float32)
    found = laid(smooth, shown(smooth, truth, SIDE), np.array([[0.025, 0.025, 0.95, 0.95]] * 8, np.float32))
    assert np.abs(found - truth).max() < 0.01


def test_every_pair_above_the_limit_is_a_candidate_whatever_the_blocks_are(monkeypatch, photos):
    thumbs = np.stack([np.asarray(Image.fromarray(x[..., 0]).resize((SIDE, SIDE))) for x in [*photos, *photos[:9]]])
    whole = candidates(thumbs)
    monkeypatch.setattr("ssl_jax.audit.candidates.ROWS", 7)
    monkeypatch.setattr("ssl_jax.audit.candidates.COLUMNS", 14)
    small = candidates(thumbs)
    pairs = [set(zip(c.i.tolist(), c.j.tolist(), strict=True)) for c in (whole, small)]
    assert pairs[0] == pairs[1] >= {(i, 75 + i) for i in range(9)}


@pytest.fixture
def folders(tmp_path, photos):
    for name, pictures in {"a": photos[:4], "b": [photos[9], photos[2]]}.items():
        (tmp_path / name).mkdir()
        for number, x in enumerate(pictures):
            Image.fromarray(x).save(tmp_path / name / f"{number}<b>.png")
    (tmp_path / "b" / "broken.jpg").write_bytes(b"no picture")
    return tmp_path


def test_the_command_writes_what_it_found_and_a_page_that_loads_nothing(folders, capsys):
    words = [
        "audit",
        "--pretrain",
        str(folders / "a"),
        "--eval",
        f"folder:{folders / 'b'}",
        "--out",
        str(folders / "out"),
    ]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "1 of 3 records of eval (33.33 %) are in pretrain" in told
    assert "1 could not be read" in told
    found = json.loads((folders / "out" / "audit.json").read_text())
    assert found["unclean"] == [1]
    assert [p["names"] for p in found["pairs"]] == [["2<b>.png", "1<b>.png"]]
    html = (folders / "out" / "audit.html").read_text()
    assert "&lt;b&gt;.png" in html
    assert "<b>" not in html
    assert "default-src &#x27;none&#x27;" in html
    assert html.count("data:image/png") == 1


def test_what_cannot_be_audited_is_told(folders, capsys):
    assert main(["audit", "--eval", str(folders / "b")]) == 2
    assert "audit needs --pretrain" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"--pretrain='/nowhere': no such file or folder"):
        named("/nowhere", "pretrain", print)
    with pytest.raises(UserError, match=r"field 'picture': no such field.*--key"):
        audited(garments("probe", 3), garments("probe", 3), key="picture")


def test_a_recipe_names_its_pretraining_and_test_data():
    first, second = (named("mae_vit_fashion:tiny", part, print) for part in ("pretrain", "eval"))
    assert (first.part, second.part) == ("data.pretrain", "data.test")


def test_the_page_says_so_where_nothing_is_shared(photos):
    sets = {"pretrain": Named("a", Pictures(photos[:3])), "eval": Named("b", Pictures(photos[3:6]))}
    result = audit(*sets.values())
    assert "None of the 3 records of eval is in pretrain." in page(result, sets)
    assert "data:image/png" not in page(result, sets)


def test_a_jpeg_is_the_same_picture_from_a_folder_and_from_an_array(photos, tmp_path):
    with io.BytesIO() as file:
        Image.fromarray(photos[0]).save(file, "JPEG", quality=90)
        (tmp_path / "x.jpg").write_bytes(file.getvalue())
        pixels = np.asarray(Image.open(file))
    result = audit(Named("a", ImageFolder(tmp_path, size=32)), Named("b", Pictures([pixels])))
    assert result["pairs_found"]["across"]["exact"] == 1


def test_an_encoder_says_how_alike_pairs_are_and_which_doubtful_ones_to_look_at(photos):
    first = garments("pretrain", 300)
    second = [CHANGES["re-encoded"](x, np.random.default_rng(0)) for x in first[:5]]
    asked = []

    def similarity(sets, i, j):
        asked.append([sets.place(int(place)) for place in j])
        return np.linspace(1, 0.9, len(i))

    result = audit(Named("a", Pictures(first)), Named("b", Pictures(second)), similarity=similarity)
    assert [p["embedding"] for p in result["pairs"]] == pytest.approx(
        np.linspace(1, 0.9, len(result["pairs"])), abs=1e-5
    )
    assert all(p["embedding"] >= 0.99 for p in result["doubtful"])
    assert set(asked[0]) >= {(1, n) for n in range(5)}
