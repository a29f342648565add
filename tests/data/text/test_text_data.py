"""Text as data: vocabularies from tokenizer.json, rows of documents, the glosses that ship, what a view of a text is."""

import json

import jax
import numpy as np
import pytest

from ssl_jax.data.sources import Definitions, Glosses, PackedGlosses
from ssl_jax.data.sources.wordnet import CLASSES, SPLITS
from ssl_jax.data.text.rows import Documents, bins, packed, padded
from ssl_jax.data.text.views import TextViews
from ssl_jax.data.text.vocabulary import Vocabulary, read_tokenizer, vocabulary_of, word_starts
from ssl_jax.errors import UserError

WORDS = Vocabulary(20, pad=0, mask=1, start=2, end=3)


def added(*words: str, first: int) -> list[dict]:
    return [{"content": word, "id": first + i} for i, word in enumerate(words)]


def test_rows_hold_every_document_whole_and_say_where_each_is():
    lengths = np.random.default_rng(0).integers(1, 9, 50)
    documents, signs = Documents.of(np.arange(5, 5 + lengths.sum()), lengths), Vocabulary(2000, pad=0, start=2, end=3)
    rows = packed(documents, signs, 16)
    found = []
    for row in range(len(rows["tokens"])):
        tokens, segments, positions = (x[row] for x in rows.values())
        assert (tokens[segments == 0] == 0).all()
        for s in range(1, segments.max() + 1):
            found.append(tokens[segments == s].tolist())
            assert np.array_equal(positions[segments == s], np.arange(len(found[-1])))
    assert found == [[2, *documents[i], 3] for i in range(50)]
    filled = (rows["segments"] > 0).sum(axis=1)
    first = np.flatnonzero(rows["tokens"][1:, 0] == 2) + 1
    following = [int((rows["segments"][row] == 1).sum()) for row in first]
    assert all(filled[row - 1] + n > 16 for row, n in zip(first, following, strict=True))  # the next one had no room
    assert all(
        np.array_equal(a, b[:2]) for a, b in zip(packed(documents, signs, 16, 2).values(), rows.values(), strict=True)
    )
    with pytest.raises(UserError, match="document 3 has 17 tokens"):
        bins(np.array([1, 2, 3, 17]), 16)


def test_a_document_stands_between_its_signs_and_is_cut_to_the_row():
    documents = Documents.of(np.arange(5, 18), np.array([2, 11]))
    rows = padded(documents, WORDS, 6)
    assert rows.tolist() == [[2, 5, 6, 3, 0, 0], [2, 7, 8, 9, 10, 3]]
    assert padded(documents, Vocabulary(20), 3).tolist() == [[5, 6, 0], [7, 8, 9]]
    assert documents.chosen(np.array([1, 0])).flat.tolist() == [*range(7, 18), 5, 6]


def test_signs_are_found_under_the_names_that_tokenizers_give_them():
    roberta = {
        "model": {"vocab": {"a": 0, "\u0120b": 1}},
        "added_tokens": added("<s>", "</s>", "<mask>", first=2),
    }
    assert vocabulary_of(roberta) == Vocabulary(5, mask=4, start=2, end=3)
    assert word_starts(roberta).tolist() == [False, True, False, False, False]
    bert = {"model": {"continuing_subword_prefix": "##", "vocab": {"[PAD]": 0, "go": 1, "##ing": 2}}}
    assert word_starts(bert).tolist() == [True, True, False]
    unigram = {
        "model": {"vocab": [["<pad>", 0.0], ["</s>", 0.0], ["\u2581a", -1.0]]},
        "added_tokens": added("<extra_id_1>", "<extra_id_0>", first=3),
    }
    assert vocabulary_of(unigram) == Vocabulary(5, pad=0, end=1, sentinels=2)
    assert vocabulary_of(unigram).signs == (0, 1, 3, 4)
    with pytest.raises(UserError, match=r"mlm needs the token 'mask'.*augment\.vocabulary"):
        vocabulary_of(unigram).require("pad", "mask", by="mlm")


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"model": 3}', '{"model": {"vocab": {}}}', '{"model": {"vocab": {"a": 1e12}}}', '{"model": {"vocab": [3]}}',
     '{"model": {"vocab": {"a": 99999999999}}}', "[" * 99_999],
)  # fmt: skip
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path, content):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        read_tokenizer(str(tmp_path / "t.json"))


def test_glosses_are_in_one_split_only_and_every_class_has_some_to_learn_from():
    sources = {split: Glosses(split) for split in SPLITS}
    assert [len(s) for s in sources.values()] == [93_119, 14_736, 9_804]
    rows = {split: {row.tobytes() for row in s.columns["tokens"][:, :40]} for split, s in sources.items()}
    assert not rows["test"] & rows["probe"]
    counts = {split: np.bincount(s.columns["label"], minlength=len(CLASSES)) for split, s in sources.items()}
    assert counts["probe"].min() >= 15
    assert counts["test"].min() >= 8
    assert len(sources["probe"].classes) == 45


def test_a_gloss_is_read_back_as_it_was_written():
    views, pairs = TextViews(tokenizer="wordnet"), Definitions("test", limit=9)
    texts = ["".join(views.pieces(pairs.columns[name][7])).replace(" [PAD]", "") for name in ("query", "passage")]
    assert texts == [" [CLS] to windward [SEP]", " [CLS]the side toward the wind [SEP]"]


def test_views_of_a_text_end_where_its_padding_begins():
    views = TextViews({"size": 20, "pad": 0, "start": 2, "end": 3})
    batch = {"tokens": np.array([[2, 5, 6, 3, 0, 0], [2, 7, 7, 7, 9, 3]])}
    text = jax.tree.map(lambda x: x[:, 0], views(None, batch))
    assert text["segments"].tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6]
    assert text["positions"].tolist() == [[0, 1, 2, 3, 0, 0], [0, 1, 2, 3, 4, 5]]
    assert views.units(batch) == {"tokens": 10.0}
    bag = np.asarray(views.plain(batch))
    assert bag[1, [7, 9, 2]].tolist() == [0.75, 0.25, 0]  # signs are left out
    rows = views.panel(jax.tree.map(lambda x: x[:, None], text))["tokens"].rows
    assert [piece for piece, _ in rows[0][0]] == ["2 ", "5 ", "6 ", "3 "]


def test_packed_rows_go_through_the_views_as_they_are():
    source = PackedGlosses("test", length=64, limit=4)
    views = TextViews(tokenizer="wordnet")
    found = views.evaluation(source.batch(np.arange(4)))
    assert all(np.array_equal(found[name], source.columns[name]) for name in views.inputs)
    assert json.loads(json.dumps(views.units(source.columns)))["tokens"] == (source.columns["segments"] > 0).sum()
