"""The page of a run: complete without a checkpoint, offline, and deaf to what hostile names say."""

import base64
import hashlib
import json
import re

import numpy as np
import pytest
from PIL import Image

from ssl_jax.errors import UserError
from ssl_jax.recipe import load, to_json
from ssl_jax.report import figures, scores
from ssl_jax.report.charts import series
from ssl_jax.report.html import SCROLL, Html, el, picture
from ssl_jax.report.page import html, report
from ssl_jax.report.panels.paper import png
from ssl_jax.report.record import read

HOSTILE = "<script>alert('x')</script>"


def evaluation(probe, columns, rows):
    data = {"records": 5000, "fingerprint": "0"}
    return {"probe": probe, "protocol": f"how {probe} works", "step": 8, "train": data, "test": data,
            "columns": columns, "rows": rows}  # fmt: skip


LINEAR = evaluation(
    "linear",
    [{"title": "linear", "value": "accuracy", "unit": "percent"}],
    {
        "pretrained (student)": {"accuracy": 0.861, "interval": [0.851, 0.871], "chance": 0.1},
        "random init": {"accuracy": 0.804, "interval": [0.79, 0.81], "note": "C at the edge"},
    },
)
FEWSHOT = evaluation(
    "fewshot",
    [{"title": "10/class", "value": "accuracy_10", "spread": "std_10", "unit": "percent"}],
    {"pretrained (student)": {"accuracy_10": 0.7, "std_10": 0.012}, "raw input": {"accuracy_10": 0.72, "std_10": 0.02}},
)


@pytest.fixture
def run(tmp_path):
    """A run directory as training leaves it, without a checkpoint; pictures are off, so that nothing is computed."""
    folder = tmp_path / "a & b"
    folder.mkdir()
    config = load("mae_vit_fashion:tiny", ["--config.log.pictures=False"])
    config.data.pretrain = {"target": "ssl_jax.data.sources:ImageFolder", "root": HOSTILE, "size": 28}
    (folder / "config.json").write_text(to_json(config))
    env = {"argv": ["ssl-jax", "train", "--config", "mae_vit_fashion:tiny", HOSTILE], "devices": {"cpu:cpu": 2}}
    (folder / "env.json").write_text(json.dumps(env))
    lines = [{"step": 0, "health": "healthy", "feature_std": 0.4, "rankme": 9.0, "probe_accuracy": 0.5}]
    lines += [{"step": s, "loss": 3.0 / s, "lr": 1e-3, "examples_per_s": 64.0} for s in (4, 8)]
    lines += [{"step": 8, "health": "collapsed", "feature_std": 0.01, "rankme": 1.1, "probe_accuracy": 0.1}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "bad_records.jsonl").write_text(json.dumps({"index": 3, "name": HOSTILE, "reason": "torn"}) + "\n")
    return folder


def png_of(width):
    return png(Image.new("RGB", (width, 10)))


def page_of(folder):
    return report(folder).read_text(encoding="utf-8")


def evaluated(folder, *evaluations):
    (folder / "eval").mkdir(exist_ok=True)
    for e in evaluations:
        (folder / "eval" / f"{e['probe']}.json").write_text(json.dumps(e))


def test_page_has_every_section_without_a_checkpoint(run):
    evaluated(run, LINEAR, FEWSHOT)
    page = page_of(run)
    for text in ("mae_vit_fashion:tiny", "MAE with a small ViT", "✕ collapsed", "planned 256 examples", "cpu:cpu"):
        assert text in page
    assert sorted(p.stem for p in (run / "samples").iterdir()) == [
        "feature_std", "learning_rate", "loss", "online_probe", "rank", "throughput",
    ]  # fmt: skip
    assert page.count("<svg ") == 6
    assert "Not evaluated yet" not in page


def test_missing_evaluation_is_said_with_the_command_that_makes_it(run):
    assert "Not evaluated yet: <code>ssl-jax eval --workdir" in page_of(run)


def test_hostile_names_are_text(run):
    evaluated(run, evaluation(HOSTILE.replace("/", ""), [{"title": HOSTILE, "value": "a"}], {HOSTILE: {"a": 1.0}}))
    page = page_of(run)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 5  # config, command line, bad record, and both names in the table
    assert "a &amp; b" in page


def test_page_refers_to_nothing_outside_itself(run):
    page = page_of(run)
    assert not re.search(
        r"https?:|//[a-z]|url\(|@import|<link|<script|<iframe| on\w+=", page.lower().split("base64,")[0]
    )
    assert not re.search(r"https?://", page)
    assert all(src.startswith("data:image/png;base64,") for src in re.findall(r'(?:src|href)="([^"]*)', page))


def test_policy_allows_exactly_the_style_of_the_page(run):
    page = page_of(run)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert "default-src &#x27;none&#x27;" in page
    assert f"style-src &#x27;sha256-{digest}&#x27;" in page
    assert "style=" not in page


def test_every_picture_is_described(run):
    images = re.findall(r"<(?:img|svg) [^>]*>", page_of(run))
    assert images
    assert all(re.search(r'(?:alt|aria-label)="[^"]{20,}"', image) for image in images)
    assert "0.375 at step 8" in " ".join(images)


def test_a_run_without_checkpoint_says_why_there_are_no_features(run):
    config = load("mae_vit_fashion:tiny")
    config.data.pretrain = {"target": "ssl_jax.data.sources:ImageFolder", "root": str(run / HOSTILE), "size": 28}
    (run / "config.json").write_text(to_json(config))
    page = page_of(run)
    assert "No picture here:" in page
    assert "<script" not in page


def test_empty_run_directory_still_has_a_page(tmp_path):
    (tmp_path / "config.json").write_text(to_json(load("mae_vit_fashion:tiny", ["--config.log.pictures=False"])))
    page = page_of(tmp_path)
    assert "No step was logged yet." in page
    assert "not checked" in page


def test_code_that_was_not_allowed_is_refused(run):
    config = load("mae_vit_fashion:tiny")
    config.objective.target = "elsewhere:Thing"
    (run / "config.json").write_text(to_json(config))
    with pytest.raises(UserError, match="--allow elsewhere"):
        report(run)


def test_best_of_a_column_is_bold_and_spread_is_shown(run):
    evaluated(run, LINEAR, FEWSHOT)
    page = page_of(run)
    assert "<strong>86.1</strong><small>85.1 to 87.1</small>" in page
    assert "<strong>72.0</strong><small>± 2.0</small>" in page
    assert "<span>70.0</span><small>± 1.2</small>" in page
    assert "not measured" in page
    assert "(chance 10.0 %); how linear works; how fewshot works." in page
    assert "Note on random init, linear: C at the edge." in page


def test_verdict_compares_the_first_column_with_every_baseline_that_has_it():
    found = scores.scores({"fewshot": FEWSHOT, "linear": LINEAR})
    assert found.columns == ("linear", "10/class")
    assert scores.verdict(found) == "Linear probe 86.1 %: 5.7 points above random init."
    assert scores.verdict(scores.scores({})) == ""


def test_numbers_of_any_size_are_plain_and_words_between_backticks_are_code(run):
    rank = [{"title": "RankMe", "value": "rankme"}]
    rows = {"pretrained (student)": {"rankme": 1249.6, "note": "see `loss` < 1"}, "random init": {"rankme": 0.01234}}
    evaluated(run, evaluation("health", rank, rows))
    page = page_of(run)
    assert "<span>1,250</span>" in page
    assert "<span>0.0123</span>" in page
    assert "see <code>loss</code> &lt; 1." in page


def test_the_head_says_how_much_data_there_was_and_the_speed_in_every_unit(run):
    env = json.loads((run / "env.json").read_text())
    (run / "env.json").write_text(json.dumps(env | {"records": 60000}))
    line = {"step": 9, "loss": 1.0, "examples_per_s": 64.0, "seconds_of_audio_per_s": 12.34}
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    page = page_of(run)
    assert "ImageFolder, 60,000 records" in page
    assert "64 examples/s, 12.3 seconds of audio/s" in page


def test_on_a_narrow_screen_every_cell_says_its_column(run):
    """The style sheet shows rows as cards there: what names a cell is in the cell, and the roles outlive the style."""
    evaluated(run, LINEAR, FEWSHOT)
    page = page_of(run)
    cells = re.findall(r"<td[^>]*>", re.search(r"<table[^>]*scores.*?</table>", page, re.DOTALL).group())
    assert [re.search('data-label="([^"]*)"', c).group(1) for c in cells] == ["linear", "10/class"] * 3
    assert all('role="cell"' in cell for cell in cells)


def test_wide_pictures_keep_their_size_and_say_that_they_scroll():
    narrow, wide = (png_of(width) for width in (300, 900))
    assert 'width="900"' in picture(wide, "alt", wide=True)
    assert SCROLL in picture(wide, "alt", wide=True)
    assert SCROLL not in picture(narrow, "alt", wide=True)
    assert "pan" not in picture(wide, "alt")


def test_training_time_counts_steps_at_their_logged_speed(run):
    assert read(run).seconds() == pytest.approx(8 * 32 / 64.0)


def test_record_of_damaged_files_is_that_of_empty_ones(run):
    (run / "env.json").write_text("{")
    (run / "bad_records.jsonl").write_text("torn")
    record = read(run)
    assert (record.env, record.bad, record.spec) == ({}, (), "")


ODD = (None, True, -1, 2**63, 10**400, 1e308, float("nan"), "", "\x00", "\ud800", [], [[]], {"a": {}}, ["a"], [1])
ENV = {
    "argv": ["ssl-jax", "train", "--config", "mae_vit_fashion:tiny"],
    "devices": {"cpu:cpu": 2},
    "packages": {"jax": "0.10"},
    "mesh": {"data": 1},
    "earlier": [{"argv": ["ssl-jax", "train"]}],
    "records": 12,
    "data": "f",
}
LINES = [
    {"step": 0, "health": "healthy", "rankme": 9.0},
    {"step": 4, "loss": 3.0, "examples_per_s": 64.0, "skipped": 1},
]


def places(value, path=()):
    """Where anything stands in nested data."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inside for place in places(item, (*path, key)))]


def with_odd(value, path, odd):
    if not path:
        return odd
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = with_odd(value[path[0]], path[1:], odd)
    return changed


def edits(value):
    """`value` with something odd at each place in it, another kind at each; every kind has its turn."""
    return [with_odd(value, path, ODD[(7 * i + j) % len(ODD)]) for j in (0, 8) for i, path in enumerate(places(value))]


def test_files_that_were_edited_are_left_out_where_they_are_no_such_thing(run):
    (run / "eval").mkdir()
    written = {"env.json": ENV, "eval/linear.json": LINEAR, "eval/fewshot.json": FEWSHOT}
    for name, value in written.items():
        for edited in edits(value):
            (run / name).write_text(json.dumps(edited))
            assert "</html>" in html(read(run), [], {}, [])
        (run / name).write_text(json.dumps(value))
    for i, line in enumerate(LINES):
        for edited in edits(line)[1:]:
            (run / "metrics.jsonl").write_text(
                "".join(json.dumps(x) + "\n" for x in [*LINES[:i], edited, *LINES[i + 1 :]])
            )
            assert "</html>" in html(read(run), [], {}, [])


def test_a_page_is_written_where_it_can_be(run, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    precious = tmp_path / "precious"
    precious.write_text("of somebody else")
    (tmp_path / "out" / "samples").mkdir(parents=True)
    for name in ("report.html", "samples/loss.svg"):
        (tmp_path / "out" / name).symlink_to(precious)
    assert report(run, out=tmp_path / "out") == tmp_path / "out" / "report.html"
    assert precious.read_text() == "of somebody else"
    assert not (run / "report.html").exists()
    (run / "samples").symlink_to(tmp_path / "out")
    with pytest.raises(UserError, match="--out FOLDER"):
        report(run)
    assert list(tmp_path.glob("ssl-jax-*/samples/loss.svg"))


def test_series_keeps_gaps():
    steps, values = series([{"step": 1, "loss": 2.0}, {"step": 2}, {"step": 3, "loss": None}], "loss")
    assert steps.tolist() == [1, 3]
    np.testing.assert_array_equal(values, [2.0, np.nan])


def test_queries_cover_the_classes():
    labels = np.repeat(np.arange(30), 2)
    assert labels[figures.one_of_each(labels, 60, 4)].tolist() == [0, 10, 19, 29]
    assert figures.one_of_each(None, 3, 10).tolist() == [0, 1, 2]


def test_elements_escape_text_and_attributes_but_not_html():
    assert el("p", "a < b", Html("<br>"), title='"') == '<p title="&quot;">a &lt; b<br></p>'
