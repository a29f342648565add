"""Texts in files: every document once, however the file is cut; labels by name; pairs; what is no text is a bad record."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ssl_jax.data.sources import JsonLines, ParquetTexts, TextFiles
from ssl_jax.data.sources.lines import lines, spans
from ssl_jax.data.sources.shards import of
from ssl_jax.data.text.tokenizer import encoded, encoded_all, load, pieces
from ssl_jax.errors import UserError
from ssl_jax.recipe import load as recipe_of
from ssl_jax.recipe.sources import component, opened

TOPICS = [
    {"body": f"the {word} runs", "topic": word, "n": i % 2} for i, word in enumerate(["cat", "dog", "ant", "cat"])
]
WORDS = {"tokenizer": "wordnet", "length": 12}


def jsonl(path, records) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def told(source, index: int, field: str = "tokens") -> str:
    tokens = source[index][field]
    return load("wordnet").decode([t for t in tokens.tolist() if t > 4])


def test_stretches_of_any_size_give_every_line_once(tmp_path):
    rng = np.random.default_rng(0)
    text = (
        b"".join(b"x" * int(n) + end for n in rng.integers(0, 9, 60) for end in [rng.choice([b"\n", b"\r\n"])])
        + b"last"
    )
    (tmp_path / "a.txt").write_bytes(text)
    (shard,) = of([str(tmp_path / "a.txt")])
    whole = [line for line in text.replace(b"\r", b"").split(b"\n") if line]
    found = spans((shard,))
    assert [text[b:e] for b, e in zip(found.begin, found.end, strict=True)] == whole
    for size in (1, 3, 7, 64, 10_000):
        cut = [each for at in range(0, shard.size, size) for each in lines(shard, at, min(at + size, shard.size))]
        assert [line for _, line in cut] == whole
        assert [at for at, _ in cut] == found.begin.tolist()


def test_a_long_text_is_encoded_in_pieces_as_it_is_whole(monkeypatch):
    from ssl_jax.data.text import tokenizer as module

    tokenizer, text = load("wordnet"), "a  small [SEP] dog, they\n\n ran—home " * 40
    whole = tokenizer.encode(text, add_special_tokens=False).ids
    monkeypatch.setattr(module, "_PIECE", 50)
    assert max(map(len, pieces(text))) <= 50
    assert "".join(pieces("x" * 120 + text)) == "x" * 120 + text
    assert encoded(tokenizer, text) == whole
    assert encoded(tokenizer, text, 9) == whole[:9]
    assert encoded_all(tokenizer, [text, "", "a dog"]) == [whole, [], encoded(tokenizer, "a dog")]
    assert tokenizer.decode(whole, skip_special_tokens=False) == text
    assert min(whole) > 4  # no sign, though one is written there


def test_a_folder_is_a_document_per_file_or_per_line_with_its_folder_as_label(tmp_path):
    for name, text in {"b/one.txt": "a cat\na dog\n", "a/two.txt": "an ant", "a/no.bin": "no"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    source = TextFiles(tmp_path, labelled=True, **WORDS)
    assert [told(source, i) for i in range(len(source))] == ["an ant", "a cat\na dog\n"]
    assert source.classes == ("a", "b")
    assert [int(source[i]["label"]) for i in (0, 1)] == source.values("label").tolist() == [0, 1]
    assert source.name_of(0) == "a/two.txt"
    per_line = opened(f"text:{tmp_path}?per=line", "SRC", **WORDS)
    assert [told(per_line, i) for i in range(len(per_line))] == ["an ant", "a cat", "a dog"]
    assert "label" not in per_line[0]
    assert {source.fingerprint(), per_line.fingerprint()} == {
        TextFiles(tmp_path, labelled=True, **WORDS).fingerprint()
    } | {TextFiles(tmp_path, per="line", **WORDS).fingerprint()}


def test_json_lines_and_parquet_give_the_same_labelled_texts(tmp_path):
    file = jsonl(tmp_path / "t.jsonl", TOPICS)
    pq.write_table(pa.Table.from_pylist(TOPICS), tmp_path / "t.parquet", row_group_size=3)
    sources = [
        opened(f"jsonl:{file}?text=body&label=topic", "SRC", **WORDS),
        ParquetTexts(str(tmp_path / "t.parquet"), text="body", label="topic", **WORDS),
    ]
    for source in sources:
        assert [told(source, i) for i in range(4)] == [record["body"] for record in TOPICS]
        assert source.classes == ("ant", "cat", "dog")
        assert source.values("label").tolist() == [int(source[i]["label"]) for i in range(4)] == [1, 2, 0, 1]
    column = pa.array([b"a cat", b"caf\xe9", b"an ant"]).view(pa.utf8())
    pq.write_table(pa.table({"body": column}), tmp_path / "bad.parquet")
    bad = ParquetTexts(str(tmp_path / "bad.parquet"), text="body", **WORDS)
    assert [told(bad, i) for i in (0, 2)] == ["a cat", "an ant"]
    assert [d.fields is None for part in bad.parts(1) for d in bad.documents(part)] == [False, True, False]
    with pytest.raises(ValueError, match="utf-8"):
        bad[1]
    numbers = JsonLines(file, text="body", label="n", **WORDS)
    assert (numbers.classes, numbers.values("label").tolist()) == ((), [0, 1, 0, 1])


def test_pairs_have_a_field_of_tokens_for_each_text_and_their_score(tmp_path):
    pairs = [{"question": "a cat", "passage": "it meows and runs", "negative": "a dog", "score": 4.5}]
    source = JsonLines(
        jsonl(tmp_path / "p.jsonl", pairs),
        text="query:question,passage,negative",
        score="score",
        query_length=6,
        **WORDS,
    )
    assert {name: x.shape for name, x in source[0].items()} == {
        "query": (6,),
        "passage": (12,),
        "negative": (12,),
        "score": (),
    }
    assert [told(source, 0, name) for name in source.names] == ["a cat", "it meows and runs", "a dog"]
    assert source[0]["score"] == np.float32(4.5)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "caf\xe9"}', "no UTF-8 at byte 13"),
        (b'{"text": " \\n "}', "the text is empty"),
        (b'{"other": "x"}', "'text' is missing"),
        (b'{"text": 3}', "'text' is no text"),
        (b'["text"]', "no JSON object"),
        (b'{"text": "x"', "delimiter"),
        (b'{"text": "\\ud800"}', "surrogates"),
        (b"[" * 100_000, "deeply|Expecting"),
        (b'{"text": "x", "label": "c"}', None),
        (b'{"text": "x", "label": 0.5}', "no whole number"),
    ],
)
def test_what_is_no_text_is_a_bad_record_and_the_others_stay(tmp_path, line, reason):
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "a cat", "label": "b"}\n' + line + b"\n" + b'{"text": "end"}')
    source = JsonLines(tmp_path / "x.jsonl", **WORDS)
    assert (told(source, 0), told(source, 2), int(source[2]["label"])) == ("a cat", "end", -1)
    if reason is None:
        assert source.classes == ("b", "c")
        return
    with pytest.raises(ValueError, match=reason):
        source[1]
    assert source.name_of(1) == "x.jsonl at byte 32"


def test_a_recipe_gives_its_texts_tokenizer_and_length(tmp_path):
    made = component("text:/books?per=line", {"tokenizer": "wordnet", "length": 64, "size": 9}, "data.pretrain")
    assert made == {
        "target": "ssl_jax.data.sources:TextFiles", "tokenizer": "wordnet", "length": 64, "root": "/books", "per": "line"
    }  # fmt: skip
    file = jsonl(tmp_path / "t.jsonl", TOPICS)
    with pytest.raises(UserError, match=r"no field 'text'; they have 'body', 'topic', 'n': name one.*\?text=body"):
        JsonLines(file)
    with pytest.raises(UserError, match="no field 'genre'"):
        JsonLines(file, text="body", label="genre")
    with pytest.raises(UserError, match="needs tokenizer="):
        JsonLines(file, text="body")[0]
    (tmp_path / "gpt.json").write_text(json.dumps({"model": {"vocab": {"a": 0}}}))
    with pytest.raises(UserError, match="a row of one text needs the token 'pad'"):
        JsonLines(file, text="body", tokenizer=str(tmp_path / "gpt.json"))[0]


def test_overrides_of_a_recipe_may_stand_in_any_order(tmp_path, monkeypatch):
    (tmp_path / "own.json").write_text(json.dumps({"model": {"vocab": {"a": 0}}}))
    monkeypatch.chdir(tmp_path)
    words = [
        f"--config.{text}" for text in ("data.pretrain=jsonl:a.jsonl", "augment.tokenizer=own.json", "model.depth=2")
    ]
    found = [recipe_of("mlm_bert_wordnet:tiny", order) for order in (words, words[::-1])]
    assert found[0].to_dict() == found[1].to_dict()
    made = found[0].data.pretrain
    assert (made.tokenizer, made.length, found[0].augment.tokenizer) == (
        str(tmp_path / "own.json"),
        128,
        made.tokenizer,
    )
