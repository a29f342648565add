"""`ssl-jax data subset` and `data stats`: index files, and numbers that numpy gives as well."""

import json
import tarfile

import numpy as np
import pytest
from small_sets import CLASSES, COUNT, add, encoded, picture, write_parquet, write_tar

from ssl_jax.cli import main
from ssl_jax.data import choose, kept
from ssl_jax.data.image.decode import decode_image
from ssl_jax.data.stats import stats
from ssl_jax.errors import UserError
from ssl_jax.recipe.sources import opened

SIZE = 16


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setenv(kept.WHERE, str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def name(tmp_path) -> str:
    return write_parquet(tmp_path)


def subset(name, out, *options) -> list[int]:
    """The records that the command chooses."""
    assert main(["data", "subset", name, str(out), *options]) == 0
    return json.loads(out.read_text())["ids"]


def test_so_many_of_each_class_are_taken_and_all_of_a_smaller_one():
    labels = np.repeat([0, 1, 2, -1], [50, 8, 30, 20])
    ids = np.arange(len(labels))
    taken = choose.per_class(ids, labels, 10, seed=0)
    assert np.bincount(labels[taken]).tolist() == [10, 8, 10]
    assert np.bincount(labels[choose.per_class(ids, labels, None, seed=0)]).tolist() == [8, 8, 8]
    assert np.array_equal(taken, choose.per_class(ids, labels, 10, seed=0))
    assert not np.array_equal(taken, choose.per_class(ids, labels, 10, seed=1))
    assert np.all(np.diff(taken) > 0)
    assert set(choose.per_class(ids[:20], labels, 99, seed=0)) == set(range(20))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--filter", "label=bee"], [1, 4, 7, 10]),
        (["--filter", "label=2"], [2, 5, 8, 11]),
        (["--filter", "label=*e*"], [1, 4, 7, 10]),
        (["--filter", "text=number 1*"], [1, 10, 11]),
        (["--filter", "text=number 1*", "--filter", "label=bee"], [1, 10]),
        (["--filter", "name=*00001*"], [6, 7, 8, 9, 10, 11]),
        (["--filter", "name=*00001*", "--balanced"], [6, 7, 8, 9, 10, 11]),
    ],
)
def test_records_are_chosen_by_their_fields(name, tmp_path, options, expected):
    assert subset(name, tmp_path / "x.json", *options) == expected


def test_an_index_file_is_a_source_and_its_digest_is_in_the_fingerprint(name, tmp_path):
    ids = subset(name, tmp_path / "x.json", "--per-class", "2", "--seed", "3")
    whole, part = opened(name, "x", size=SIZE), opened(f"subset:{tmp_path}/x.json", "x", size=SIZE)
    assert (len(part), part.classes) == (6, CLASSES)
    for row, i in enumerate(ids):
        np.testing.assert_array_equal(part[row]["image"], whole[i]["image"])
        assert part.encoded(row)["image"] == picture(i)
        assert part.name_of(row) == whole.name_of(i)
    assert part.values("label").tolist() == [i % 3 for i in ids]
    other = subset(name, tmp_path / "y.json", "--per-class", "2", "--seed", "4")
    assert other != ids
    prints = {opened(f"subset:{tmp_path}/{x}.json", "x", size=SIZE).fingerprint() for x in "xy"} | {whole.fingerprint()}
    assert len(prints) == 3
    again = subset(f"subset:{tmp_path}/x.json", tmp_path / "z.json", "--per-class", "1")
    assert set(again) < set(ids)
    assert json.loads((tmp_path / "z.json").read_text())["source"] == name


def test_what_the_audit_found_again_is_left_out(name, tmp_path):
    source = opened(name, "x", size=SIZE)

    def pair(a, b, sets=("pretrain", "pretrain")):
        return {"sets": list(sets), "ids": [a, b], "names": [source.name_of(a), source.name_of(b)]}

    audit = {
        "sets": {"pretrain": {"records": COUNT}},
        "pairs": [pair(3, 9), pair(4, 0), pair(3, 5)],
        "pairs_found": {"pretrain": {"exact": 2, "near": 1}},
        "unclean": [],
    }
    (tmp_path / "audit.json").write_text(json.dumps(audit))
    assert subset(name, tmp_path / "x.json", "--dedup", f"{tmp_path}/audit.json") == [0, 1, 2, 3, 6, 7, 8, 10, 11]
    across = audit | {"sets": {"pretrain": {"records": 99}, "eval": {"records": COUNT}}, "pairs": [], "pairs_found": {}}
    (tmp_path / "audit.json").write_text(json.dumps(across | {"unclean": [11]}))
    assert subset(name, tmp_path / "x.json", "--dedup", f"{tmp_path}/audit.json") == list(range(11))
    for change, told in (
        ({"pairs_found": {"pretrain": {"exact": 30}}}, "lists 3 of the pairs that were found"),
        ({"sets": {"pretrain": {"records": 11}}}, "is about other records than these 12"),
        ({"pairs": [pair(3, 9) | {"names": ["a", "b"]}]}, "is about other records than these 12"),
        ({"pairs": 3}, "is not what ssl-jax audit writes"),
    ):
        (tmp_path / "audit.json").write_text(json.dumps(audit | change))
        with pytest.raises(UserError, match=told):
            choose.without_duplicates(source, np.arange(COUNT), f"{tmp_path}/audit.json")


def test_what_cannot_be_chosen_is_said(name, tmp_path, capsys):
    out = str(tmp_path / "x.json")
    cases = {
        (): "say what to choose",
        ("--filter", "label=dog"): "no class is called 'dog'; there are ant, bee, cat",
        ("--filter", "colour=red"): "no record has a field 'colour'; there are label, name, text",
        ("--filter", "label"): "write FIELD=VALUE",
        ("--filter", "name=nothing"): "leaves none of 12 records",
        ("--per-class", "-1"): "no whole number from 1 on",
        ("--balanced", "--per-class", "3"): "not allowed with",
        ("--dedup", f"{tmp_path}/none.json"): "cannot be read as what ssl-jax audit writes",
    }
    for options, told in cases.items():
        assert main(["data", "subset", name, out, *options]) == 2
        assert told in capsys.readouterr().err
    (tmp_path / "bare").mkdir()
    assert main(["data", "subset", write_tar(tmp_path / "bare", labels=False), out, "--balanced"]) == 2
    assert "no record has a label" in capsys.readouterr().err


def test_an_index_of_other_records_is_refused(name, tmp_path):
    out = tmp_path / "x.json"
    subset(name, out, "--filter", "label=bee")
    index = json.loads(out.read_text())
    for change, told in (
        ({"of": 13}, "chooses from 13 records, and there are 12"),
        ({"ids": [0, 12]}, "chooses from 12 records"),
        ({"ids": []}, "chooses from"),
        ({"ids": [2, 4]}, "had other names"),
        ({"ids": [True]}, "is no index of records"),
        ({"ids": 3}, "cannot be read as an index"),
        ({"format": "x"}, "is no index of records"),
        ({"source": f"subset:{out}"}, "and not from another one"),
        ({"source": "nowhere:/x"}, "no source is named 'nowhere'"),
    ):
        out.write_text(json.dumps(index | change))
        with pytest.raises(UserError, match=told):
            opened(f"subset:{out}", "x", size=SIZE)


def test_statistics_are_those_of_the_pictures(name, tmp_path, capsys):
    images = np.stack([decode_image(picture(i), SIZE) for i in range(COUNT)]) / 255
    assert main(["data", "stats", name, "--size", str(SIZE), "--out", str(tmp_path / "stats.json")]) == 0
    found = json.loads((tmp_path / "stats.json").read_text())
    np.testing.assert_allclose(found["mean"], images.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(found["std"], images.std((0, 1, 2)), atol=1e-4)
    assert found["labels"] == dict.fromkeys(CLASSES, 4)
    assert (found["records"], found["bad"], found["without_label"], found["modes"]) == (COUNT, 0, 0, {"RGB": COUNT})
    assert found["height"] == {"min": 20, "5%": 20, "median": 20, "95%": 20, "max": 20}
    assert (found["width"]["min"], found["width"]["median"], found["width"]["max"]) == (26, 27, 28)
    assert f"augment.mean  ({', '.join(map(str, found['mean']))})" in capsys.readouterr().out


def test_bad_records_are_counted_and_arrays_have_statistics_too(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for i in range(30):
            add(archive, f"{i:02d}.png", b"no picture" if i >= 5 else encoded(np.full((9, 9 + i), 51 * i, np.uint8)))
    found = stats(opened(f"{tmp_path}/x.tar", "x", size=9), threads=2)
    assert (found["records"], found["bad"], len(found["bad_records"])) == (5, 25, 20)
    assert found["bad_records"][0] == {"name": "x.tar/05", "reason": found["bad_records"][1]["reason"]}
    assert found["modes"] == {"L": 5}
    np.testing.assert_allclose(found["mean"], 0.4, atol=1e-3)
    np.testing.assert_allclose(found["std"], np.std([0, 0.2, 0.4, 0.6, 0.8]), atol=1e-3)
    np.save(tmp_path / "x.npy", np.full((4, 9, 8), 255, np.uint8))
    assert stats(opened(f"{tmp_path}/x.npy", "x"), threads=1) | {"std": 0} == {
        "records": 4,
        "height": dict.fromkeys(("min", "5%", "median", "95%", "max"), 9),
        "width": dict.fromkeys(("min", "5%", "median", "95%", "max"), 8),
        "modes": {"1 x uint8": 4},
        "mean": [1.0],
        "std": 0,
        "labels": {},
        "without_label": 4,
        "bad": 0,
        "bad_records": [],
    }
