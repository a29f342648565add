"""Pairs: every layout gives the same records; what is drawn, follows the example's key; what is wrong is said; descriptions."""

import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from videos import write

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.cropped import Cropped
from ssl_jax.data.image.host import Crop, HostCrops
from ssl_jax.data.pipeline import batches, examples, once
from ssl_jax.data.sources import Described, FashionCaptions, GeneratedAudio, Matched, Mix, MovingFashion, Pairs, Subset
from ssl_jax.data.sources.descriptions import ADJECTIVES, measured, text_of_row, vocabulary
from ssl_jax.data.sources.fashion_captions import texts
from ssl_jax.data.text.tokenizer import load
from ssl_jax.data.video.decode import Decoding, clip
from ssl_jax.errors import UserError
from ssl_jax.recipe.sources import opened, usual_options

COUNT = 6
OPTIONS = {"tokenizer": "wordnet", "length": 12, "size": 8}


def caption(i: int) -> str:
    return f"number {i} is a picture"


def picture(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 255, (8, 8, 3)).astype(np.uint8)


@pytest.fixture
def photos(tmp_path):
    """A folder with `x.png` and `x.txt`, which has a second caption in its second line."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(COUNT):
        Image.fromarray(picture(i)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"{caption(i)}\nthe other of {i}\n")
    return folder


def listed(folder, kind) -> str:
    """The same as a table or an archive."""
    place = folder.parent / f"table.{kind}"
    rows = [{"image": f"photos/{i}.png", "caption": [caption(i), f"the other of {i}"]} for i in range(COUNT)]
    if kind == "jsonl":
        place.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if kind == "csv":
        lines = [f"{row['image']},{row['caption'][0]},{row['caption'][1]}\n" for row in rows]
        place.write_text("path,one,two\n" + "".join(lines))
    if kind == "parquet":
        inside = [
            row | {"image": {"bytes": (folder / f"{i}.png").read_bytes(), "path": "x"}} for i, row in enumerate(rows)
        ]
        pq.write_table(pa.Table.from_pylist(inside), place)
    if kind == "tar":
        with tarfile.open(place, "w") as archive:
            for path in sorted(folder.iterdir()):
                archive.add(path, path.name)
    return str(place)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "tar"])
def test_every_layout_gives_the_same_records(photos, kind):
    parts = {"csv": "image:path,text:one+two"}.get(kind, "image,text")
    expected, source = Pairs(str(photos), **OPTIONS), Pairs(listed(photos, kind), parts=parts, **OPTIONS)
    assert len(source) == len(expected) == COUNT
    for i in range(COUNT):
        assert source.text_of(i) == caption(i)
        record = source[i]
        assert np.array_equal(record["image"], picture(i))
        assert record.keys() == expected[i].keys() == Pairs.example(**OPTIONS).keys()
        assert all(np.array_equal(value, expected[i][name]) for name, value in record.items())
    assert (
        source.fingerprint() != expected.fingerprint() != Pairs(str(photos), **OPTIONS | {"length": 13}).fingerprint()
    )


def test_an_example_takes_one_of_several_values_by_its_key(photos):
    place = photos.parent / "several.jsonl"
    lines = [{"image": [f"photos/{i}.png", "photos/0.png"], "text": [caption(i), "b", "c"]} for i in range(COUNT)]
    place.write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = Pairs(str(place), **OPTIONS)
    stream = batches(source, seed=0, batch_size=COUNT)
    epochs = [next(stream) for _ in range(40)]
    chosen = {i: [epoch["text_id"][epoch["_id"] == i][0] for epoch in epochs] for i in range(COUNT)}
    assert all(len(set(each)) == 3 for each in chosen.values())
    counts = np.unique(np.concatenate([*chosen.values()]), return_counts=True)[1]
    assert counts.max() < 0.5 * counts.sum()  # "b" and "c", which all items have: a third each
    later = next(batches(source, seed=0, batch_size=COUNT, start_step=30))
    assert all(np.array_equal(later[name], epochs[30][name]) for name in later)
    assert len({int(epoch["image_id"][epoch["_id"] == 1][0]) for epoch in epochs}) == 2
    every = Pairs(str(place), each=True, **OPTIONS)
    assert [every.text_of(i) for i in range(4)] == [caption(0), "b", "c", caption(1)]
    assert len({int(every[i]["image_id"]) for i in range(3)}) == 1
    batch, _ = next(iter(once(every, 18)))
    assert len(np.unique(batch["text_id"])) == COUNT + 2
    kept = Pairs(str(place), keep=True, **OPTIONS)
    again = [next(batches(kept, seed=0, batch_size=COUNT, start_step=step)) for step in range(40)]
    assert all(np.array_equal(a[name], b[name]) for a, b in zip(again, epochs, strict=True) for name in a)
    for path in photos.iterdir():
        path.unlink()
    assert np.array_equal(kept[2]["image"], picture(2))
    assert kept.fingerprint() == source.fingerprint()


def test_a_part_and_a_mixture_draw_what_their_sources_draw(photos):
    place = photos.parent / "several.jsonl"
    lines = [{"image": f"photos/{i}.png", "text": [caption(i), "b", "c", "d"]} for i in range(COUNT)]
    place.write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = Pairs(str(place), **OPTIONS)
    ids = np.arange(COUNT)
    for epoch in range(3):
        epochs = np.full(COUNT, epoch)
        whole = examples(source, ids, epochs, BadRecords(0.0))["text_id"]
        part = Subset(source, 0.0, 0.5)
        mixed = Mix((source, part), (1, 1))
        half = np.arange(len(part))
        assert np.array_equal(examples(part, half, epochs[half], BadRecords(0.0))["text_id"], whole[part.ids])
        found = examples(mixed, np.arange(len(mixed)), np.full(len(mixed), epoch), BadRecords(0.0))
        assert np.array_equal(found["text_id"], np.concatenate([whole, whole[part.ids]]))
        assert set(found["_source"]) == {0, 1}
    assert part.text_of(0) == caption(part.ids[0])
    assert part.file_of(0) == f"photos/{part.ids[0]}.png"


def test_a_clip_is_a_part_too(tmp_path):
    for i in range(2):
        write(tmp_path / f"{i}.mp4", count=20 + 20 * i, codec="mpeg4")
        (tmp_path / f"{i}.txt").write_text(caption(i))
    source = Pairs(str(tmp_path), parts="clip,text", frames=4, **OPTIONS)
    assert source[1]["clip"].shape == source.example("clip,text", frames=4, size=8)["clip"].shape == (4, 8, 8, 3)
    whole = clip(tmp_path / "1.mp4", [0.2, 0.6, 1.0, 1.4], Decoding(8))
    assert np.array_equal(source[1]["clip"], whole)
    (tmp_path / "0.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="no video"):
        source[0]


def test_crops_on_the_host_leave_the_drawn_caption(photos):
    source = Pairs(str(photos), **OPTIONS)
    crops = HostCrops("image", (("image", Crop("image", 1, (4, 4), (0.5, 1.0), (1.0, 1.0), "bilinear")),))
    whole, cut = (
        next(batches(each, seed=0, batch_size=COUNT, start_step=3)) for each in (source, Cropped(source, crops, 0))
    )
    assert np.array_equal(whole["tokens"], cut["tokens"])
    assert {int(number) for number in whole["text_id"]} != {int(source[i]["text_id"]) for i in range(COUNT)}


def test_labels_languages_and_what_is_the_same_stand_in_columns(photos):
    place = photos.parent / "told.csv"
    rows = "".join(
        f"photos/{i}.png,{caption(i)},{'ab'[i % 2]},{'fr' if i < 3 else 'de'},{i // 2}\n" for i in range(COUNT)
    )
    place.write_text("path,text,group,language,concept\n" + rows)
    source = opened(f"pairs:{place}?label=group&more=language&same=concept", "SRC", **OPTIONS)
    assert (source.classes, source.labels) == (("a", "b"), {"language": ("de", "fr")})
    assert source.values("label").tolist() == [0, 1] * 3
    assert [int(source[i]["language"]) for i in range(COUNT)] == [1, 1, 1, 0, 0, 0]
    same = [tuple(source[i]["text/same"]) for i in range(COUNT)]
    assert len(set(same)) == 3
    assert same[0] == same[1] != same[2]
    assert source.values("concept").tolist() == [int(source[i]["concept"]) for i in range(COUNT)]
    with pytest.raises(UserError, match="no column 'tongue'; it has 'path', 'text', 'group', 'language', 'concept'"):
        Pairs(str(place), more="tongue", **OPTIONS)


def broken(folder, how) -> None:
    """One thing made wrong."""
    if how == "missing caption":
        (folder / "1.txt").unlink()
    if how == "empty caption":
        (folder / "1.txt").write_text(" \n")
    if how == "no picture":
        (folder / "1.png").write_text("words")
    if how == "no UTF-8":
        (folder / "1.txt").write_bytes(b"\xff\xfe\xfa")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing caption", "no text: nothing under txt; write one"),
        ("empty caption", "the text is empty"),
        ("no picture", "not a picture in any of the formats"),
        ("no UTF-8", "no UTF-8 at byte 0"),
    ],
)
def test_an_item_that_lacks_something_is_a_bad_record_and_too_many_end_the_run(photos, how, said):
    broken(photos, how)
    source, bad = Pairs(str(photos), **OPTIONS), BadRecords(0.5)
    assert len(next(batches(source, seed=0, batch_size=COUNT, bad=bad))["tokens"]) == COUNT
    (entry,) = bad.entries
    assert entry.name == "1"
    with pytest.raises(UserError, match=f"max_bad_fraction=0.0 does not allow that.*({said})"):
        next(batches(source, seed=0, batch_size=COUNT))


def test_a_list_with_more_lines_than_pictures_says_so(photos):
    place = photos.parent / "long.csv"
    place.write_text("path,text\n" + "".join(f"photos/{i}.png,{caption(i)}\n" for i in range(COUNT + 3)))
    source = Pairs(str(place), **OPTIONS)
    with pytest.raises(
        ValueError, match=r"'photos/6\.png' is named there, and is no file in .*: there are more lines than files"
    ):
        source[COUNT]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"parts": "image"}, "parts='image': name two or more"),
        ({"parts": "image,text:title"}, r"none of title; its columns or suffixes are 'png', 'txt': name some"),
        ({"parts": "sound,text"}, "holds no files that end in wav, flac"),
        ({"length": 2}, "length=2"),
        ({"tokenizer": "plain.json"}, "needs the token 'pad', and the tokenizer has none"),
        ({"path": "nothing"}, "no pairs at .*nothing'; give a folder of files side by side"),
    ],
)
def test_what_cannot_be_read_at_all_is_refused_before_the_first_step(photos, options, said, monkeypatch):
    monkeypatch.chdir(photos.parent)
    (photos.parent / "plain.json").write_text(
        json.dumps({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}})
    )
    with pytest.raises(UserError, match=said):
        Pairs(**{"path": str(photos), **OPTIONS, **options})


def test_captions_that_are_all_the_same_are_refused_and_long_ones_are_counted(photos):
    (photos / "x.txt").write_text("alone")
    notes = Pairs(str(photos), **OPTIONS | {"length": 6}).notes
    assert any("left out 1 files" in note for note in notes)
    told = [text for i in range(COUNT) for text in (caption(i), f"the other of {i}")]
    long = sum(len(load("wordnet").encode(text, add_special_tokens=False).ids) > 4 for text in told)
    assert long > 0
    assert any(f"{long} of 12 texts that were looked at have more than 4 tokens and are cut" in note for note in notes)
    for i in range(COUNT):
        (photos / f"{i}.txt").write_text("a picture")
    with pytest.raises(UserError, match="all 6 texts of the part 'text' that were looked at are 'a picture'"):
        Pairs(str(photos), **OPTIONS)


def test_sounds_are_resampled_and_padded(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    at = np.arange(16_000) / 16_000
    for i, pitch in enumerate((300, 600)):
        soundfile.write(tmp_path / f"{i}.wav", 0.5 * np.sin(2 * np.pi * pitch * at), 16_000)
        (tmp_path / f"{i}.txt").write_text(f"{pitch} hertz")
    source = Pairs(str(tmp_path), parts="sound,text", rate=8000, seconds=1.5, tokenizer="wordnet")
    record = source[1]
    assert (record["wave"].shape, record["valid"].sum()) == ((12_000,), 8000)
    assert np.abs(np.fft.rfft(record["wave"][:8000])).argmax() == 600


def test_strings_take_what_each_modality_of_a_recipe_says(photos):
    part = {"target": "x", "tokenizer": "wordnet"}
    config = {
        "augment": {"parts": {"image": {"size": 56}, "text": part, "sound": {"rate": 8000}}},
        "model": {"text": {"length": 9}},
    }
    assert usual_options(config) == {"size": 64, "tokenizer": "wordnet", "length": 9, "rate": 8000}


# --- generated descriptions


def test_descriptions_say_what_was_measured_in_words_that_the_tokenizer_has():
    source, told = FashionCaptions("test", limit=200), texts("test", 200)
    assert [source.text_of(i) for i in range(200)] == told
    assert {word for text in told for word in text.split()} <= set(vocabulary())
    facts = measured(source.columns["image"][..., 0])
    (low, dark), (high, bright) = ADJECTIVES["brightness"]
    assert [("dark" in text.split(), "bright" in text.split()) for text in told] == [
        (bool(x < low), bool(x > high)) for x in facts["brightness"]
    ]
    assert (dark, bright) == ("dark", "bright")
    ids = load("fashion").encode_batch(told)
    rows = source.columns["tokens"]
    assert all(row[1 : 1 + len(one.ids)].tolist() == one.ids for row, one in zip(rows, ids, strict=True))
    same = source.columns["text_id"]
    assert all((told[i] == told[j]) == (same[i] == same[j]) for i in range(50) for j in range(50))


def test_labels_of_sounds_and_clips_become_sentences():
    for source, kind, fields in (
        (GeneratedAudio(count=9), "sound", ("timbre", "envelope", "glide")),
        (MovingFashion(count=9), "clip", ("direction", "speed")),
    ):
        described = Described(source, kind)
        for i in range(9):
            record = described[i]
            words = [source.labels[name][int(record[name])] for name in fields]
            assert set(words) <= set(text_of_row(record["tokens"]).split())
            assert described.text_of(i) == text_of_row(record["tokens"])


def test_matched_records_have_the_label_in_common():
    matched = Matched(FashionCaptions(limit=40), GeneratedAudio(count=200))
    for i in range(40):
        record = matched[i]
        waves = (
            [matched.other[j]["wave"] for j in range(200) if matched.other[j]["label"] == record["label"]]
            if i < 2
            else []
        )
        assert not waves or any(np.array_equal(record["wave"], wave) for wave in waves)
    assert "timbre" not in matched[0]
    assert {"image", "tokens", "wave", "valid", "label"} <= matched[0].keys()
