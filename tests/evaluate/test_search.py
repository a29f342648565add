"""Search: a record finds itself by its text and by its picture, whatever the weights; the page; refusals."""

from functools import partial

import jax
import numpy as np
import pytest
from PIL import Image

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.sources import Embedded, FashionCaptions
from ssl_jax.devices.mesh import make_mesh
from ssl_jax.errors import UserError
from ssl_jax.evaluate.search import lines, search
from ssl_jax.objectives.base import State
from ssl_jax.recipe import load, parse, to_json
from ssl_jax.report.retrieved import retrieved
from ssl_jax.report.search import page
from ssl_jax.training.records import records_of
from ssl_jax.training.reopen import Opened
from ssl_jax.training.run import build
from ssl_jax.training.step import init_state

INDEX = FashionCaptions("test", limit=40)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A run of two towers as if it had trained, with numbers in the place of its weights."""
    workdir = tmp_path_factory.mktemp("run")
    recipe = parse(load("clip_conv_fashion:tiny"))
    (workdir / "config.json").write_text(to_json(load("clip_conv_fashion:tiny")))
    records = records_of(INDEX, BadRecords())
    setup = build(recipe, records.count)
    shapes, rng = jax.eval_shape(partial(init_state, setup), records.batch(2)), np.random.default_rng(0)
    made = jax.tree.map(lambda x: rng.normal(0.1, 0.3, x.shape).astype(x.dtype), (shapes.params, shapes.extra))
    made[1]["batch_stats"] = jax.tree.map(np.abs, made[1]["batch_stats"])
    return Opened(workdir, recipe, setup, State(*made), 1, records, make_mesh(), "digest")


def test_a_record_finds_itself_by_its_text_and_by_its_picture(opened, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(INDEX[7]["image"][..., 0]).save("seven.png")
    (tmp_path / "words.txt").write_text(INDEX.text_of(7) + "\n")
    for query, against in (("seven.png", "image"), (INDEX.text_of(7), "text"), ("words.txt", "text")):
        hits = search(opened, query, INDEX, 5, against)
        assert hits.cosines[0] == pytest.approx(1, abs=1e-5)
        assert 7 in [i for i, cosine in zip(hits.ids, hits.cosines, strict=True) if cosine > 1 - 1e-5]
        assert (len(hits.ids), hits.among) == (5, 40)
        assert list(hits.cosines) == sorted(hits.cosines, reverse=True)
        assert hits.asked.name == hits.searched.name == f"{against}_embedding"
    across = search(opened, INDEX.text_of(7), INDEX, 3)
    assert (across.asked.name, across.searched.name) == ("text_embedding", "image_embedding")
    assert lines(across)[0].endswith(INDEX.text_of(across.ids[0]))
    shown = page(across, "a <b>", INDEX)
    assert "a &lt;b&gt;" in shown
    assert all(INDEX.text_of(i) in shown for i in across.ids)
    assert "Search: a &lt;b&gt;" in shown
    # Pictures without texts are searched as well.
    assert search(opened, "a bag", Embedded("test", limit=9), 20).among == 9


def test_the_report_shows_what_towers_find_both_ways_and_prompts(opened):
    pictures = {picture.name: picture for picture in retrieved(opened.recipe, opened)}
    assert list(pictures) == ["retrieved_image_text", "retrieved_text_image", "prompts_image"]
    assert (
        "each with the 4 nearest text of 500. The first is the record's own in"
        in pictures["retrieved_image_text"].caption
    )
    assert "the classes whose prompts (a t-shirt, a trouser, ...) are nearest" in pictures["prompts_image"].caption
    assert all(picture.png.startswith(b"\x89PNG") for picture in pictures.values())


@pytest.mark.parametrize(
    ("query", "index", "against", "said"),
    [
        (" ", INDEX, "", "--query is empty; write what to look for"),
        ("odd.bin", INDEX, "", "no encoder of the run reads such a file; it has image_embedding, text_embedding"),
        ("broken.png", INDEX, "", "cannot be decoded"),
        (
            "a bag",
            Embedded("test", limit=9),
            "text",
            "its records have image, label, which text does not read; those that do: image",
        ),
    ],
)
def test_what_no_tower_reads_is_refused(opened, tmp_path, monkeypatch, query, index, against, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.bin").write_bytes(b"x")
    (tmp_path / "broken.png").write_bytes(b"x")
    with pytest.raises(UserError, match=said):
        search(opened, query, index, 5, against)
