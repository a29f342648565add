"""Series in files and generated ones: windows by index, what is missing, what is refused, and what is known of them."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from ssl_jax.cli import main
from ssl_jax.data.bad import BadRecords
from ssl_jax.data.sources import GeneratedSeries, SeriesFiles
from ssl_jax.errors import UserError
from ssl_jax.recipe.sources import component, opened

TS = "#about\n@problemName x\n@classLabel true b a\n@data\n"
NAN = float("nan")


@pytest.fixture
def written(tmp_path):
    """Writes a file and gives its path."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def rows(source):
    return [source[i]["series"][:, 0].tolist() for i in range(len(source))]


def test_a_ts_file_has_a_record_for_each_line_padded_and_with_gaps(written):
    path = written("x_TRAIN.ts", TS + "1,2,3:4,5,6:a\n7,?,9,10:1,2,3,4:b\n")
    source = opened(f"series:{path}", "data.pretrain")
    assert (len(source), source.classes) == (2, ("a", "b"))
    first, second = source[0], source[1]
    np.testing.assert_array_equal(first["series"], [[1, 4], [2, 5], [3, 6], [0, 0]])
    np.testing.assert_array_equal(first["valid"], [[1, 1], [1, 1], [1, 1], [0, 0]])
    np.testing.assert_array_equal(second["valid"], [[1, 1], [0, 1], [1, 1], [1, 1]])
    assert second["series"][1, 0] == 0
    assert [int(label) for label in source.values("label")] == [0, 1] == [int(source[i]["label"]) for i in range(2)]
    assert source.name_of(1) == "x_TRAIN.ts line 6"
    assert component(path, {}, "data.pretrain")["target"].endswith(":SeriesFiles")


def test_windows_futures_labels_and_marks_of_a_table_are_found_by_index(written):
    lines = [f"2024-01-{i + 1:02d},{i},{10 * i},{i >= 5},{'late' if i >= 6 else 'early'}" for i in range(10)]
    path = written("x.csv", "date,a,b,is_anomaly,label\n" + "\n".join(lines).replace("True", "1").replace("False", "0"))
    source = SeriesFiles(path, window=4, stride=2, horizon=2)
    assert rows(source) == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]]
    last = source[2]
    np.testing.assert_array_equal(last["future"], [[8, 80], [9, 90]])
    np.testing.assert_array_equal(last["anomaly"], [0, 1, 1, 1])
    assert [source.classes[i] for i in source.values("label")] == ["early", "early", "late"]
    grouped = written("g.csv", "id,v\n" + "\n".join(f"{'xy'[i % 2]},{i}" for i in range(8)))
    assert rows(SeriesFiles(grouped, window=2, by="id")) == [[0, 2], [4, 6], [1, 3], [5, 7]]
    assert rows(SeriesFiles(written("bare.csv", "1,2\n3,4\n"))) == [[1, 3]]


def test_all_formats_hold_the_same(written, tmp_path):
    values = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    valid = np.ones_like(values, bool)
    valid[1, 2:] = False
    np.savez(tmp_path / "a.npz", series=values, valid=valid, label=np.array([1, 0]))
    lists = [values[0].tolist(), values[1, :2].tolist()]
    parquet.write_table(pa.table({"series": lists, "label": [1, 0]}), tmp_path / "a.parquet")
    one, two = (SeriesFiles(str(tmp_path / name)) for name in ("a.npz", "a.parquet"))
    for i in range(2):
        assert one[i].keys() == two[i].keys()
        for name in one[i]:
            np.testing.assert_array_equal(one[i][name], two[i][name])
    parquet.write_table(pa.table({"u": [1.0, None, 3.0], "v": [4, 5, 6]}), tmp_path / "b.parquet")
    record = SeriesFiles(str(tmp_path / "b.parquet"))[0]
    np.testing.assert_array_equal(record["series"], [[1, 4], [0, 5], [3, 6]])
    np.testing.assert_array_equal(record["valid"], [[1, 1], [0, 1], [1, 1]])


def test_what_a_record_was_normalised_by_brings_it_back(written):
    train, test = written("train.csv", "v\n0\n2\n4\n6\n"), written("test.csv", "v\n1\n5\n\n9\n")
    of_train = SeriesFiles(test, normalise="channel", statistics=train)
    own = SeriesFiles(test, normalise="window")
    assert of_train[0]["mean"] == 3
    assert "mean ± deviation 3 ± 2.236" in of_train.notes[0]
    assert abs(own[0]["series"].sum()) < 1e-6
    for record in (of_train[0], own[0]):
        back = record["series"] * record["scale"] + record["mean"]
        np.testing.assert_allclose(back[record["valid"]], [1, 5, 9], rtol=1e-6)
    assert len({of_train.fingerprint(), own.fingerprint(), SeriesFiles(test).fingerprint()}) == 3


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("a.csv", "a,b\n1,2\n3\n", {}, r"row 3 has 1 values and the first one 2"),
        ("a.csv", "", {}, "is empty"),
        ("a.csv", b"\xff\xfe\x00", {}, "is no text"),
        ("a.csv", "a,b\n1,cat\n", {}, "'b' holds 'cat' in row 1, which is no number"),
        ("a.csv", "a\n1\n2\n", {"label": "kind"}, "has no column 'kind'; it has a"),
        ("a.csv", "a\n1\n2\n", {"window": 2, "horizon": 2}, "no recording of more than 2 steps"),
        ("a.ts", "1,2:a\n", {}, "has no line @data"),
        ("a.ts", TS + "1,x:a\n", {}, "no recording that can be read: a.ts line 5: could not convert"),
        ("a.ts", "@timeStamps true\n@data\n(0,1):a\n", {}, "time stamps in its values"),
        ("a.npz", b"PK", {}, "cannot be read as plain numpy arrays"),
        ("a.wav", "text", {}, "series are read from .ts"),
        ("a.csv", "a\n1\n", {"normalise": "all"}, "normalise='all' is unknown"),
    ],
)
def test_what_is_no_series_is_refused(written, name, content, options, said):
    with pytest.raises(UserError, match=said):
        SeriesFiles(written(name, content), **options)


@pytest.mark.parametrize(
    ("lines", "options", "reason"),
    [
        ("1,1,1,1", {}, "nothing changes in it"),
        ("?,?,?,?", {}, "every value is missing"),
        ("1,inf,2,3", {}, "a value is infinite"),
        ("1,text,2,3", {}, "could not convert string to float: 'text'"),
        ("1,1,1,1", {"flat": True}, None),
    ],
)
def test_a_bad_series_is_a_bad_record(written, lines, options, reason):
    source = SeriesFiles(written("a.ts", TS + "1,2,3,4:a\n" + f"{lines}:b\n"), length=4, **options)
    bad = BadRecords(0.9)
    index, _ = bad.read(source, 1)
    assert index == (0 if reason else 1)
    assert (reason or "") in "".join(entry.reason for entry in bad.entries)
    assert bool(bad.entries) == bool(reason)


def test_a_ragged_csv_ends_with_code_2_before_anything_is_made(written, tmp_path, capsys):
    path = written("a.csv", "a,b\n1,2\n3\n")
    words = ["train", "--config", "patchtst_generated:tiny", "--workdir", str(tmp_path / "run")]
    assert main([*words, f"--config.data.pretrain=series:{path}"]) == 2
    assert "row 3 has 1 values" in capsys.readouterr().err
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").glob("checkpoints/*"))


def test_generated_series_are_functions_of_their_index_and_hold_what_they_say():
    source = GeneratedSeries("test", length=64, horizon=16, missing=0.2, noise=0.0, anomalies=1.0, count=40)
    again = GeneratedSeries("test", length=64, horizon=16, missing=0.2, noise=0.0, anomalies=1.0, count=40)
    records = [source[i] for i in range(40)]
    for i in (3, 17):
        for name, value in again[i].items():
            np.testing.assert_array_equal(value, records[i][name])
    assert all(record["anomaly"].any() for record in records)
    assert 0.7 < np.mean([record["valid"].mean() for record in records]) < 0.92
    clean = GeneratedSeries("test", length=64, horizon=16, noise=0.0, anomalies=0.0, count=40)
    steady = next(r for r in map(clean.__getitem__, range(40)) if clean.classes[r["label"]] == "square, steady")
    period, _, noise = steady["factors"]
    whole = np.concatenate([steady["series"], steady["future"]])[:, 0]
    jumps = np.flatnonzero(np.abs(np.diff(whole)) > 1)
    assert noise == 0
    assert np.diff(jumps).mean() == pytest.approx(period / 2, rel=0.1)
    assert not steady["regime"].any()
    assert source.fingerprint() != clean.fingerprint()
