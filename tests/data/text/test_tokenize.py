"""A corpus becomes files of tokens: every text comes back, a killed command gives the same bytes, rows are the documents."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ssl_jax.cli import main
from ssl_jax.data.sources import JsonLines, TextFiles, TokenShards
from ssl_jax.data.text import tokenize as module
from ssl_jax.data.text.tokenize import job_of, merged, shard, tokenize
from ssl_jax.data.text.tokenizer import load
from ssl_jax.data.text.vocabulary import read_tokenizer, vocabulary_of
from ssl_jax.errors import UserError

SIGNS = ["a [SEP] written out", "tabs\tand  spaces \n", "é — 語 \x00", "<extra_id_0>"]


def texts(count: int) -> list[str]:
    rng, words = np.random.default_rng(0), ["cat", "dog", "runs", "to", "the", "house", "blue", "é—語"]
    return SIGNS + [" ".join(rng.choice(words, int(n))) for n in rng.integers(1, 60, count)]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts(300)))
    return path


def digests(folder) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.is_file()}


def made(corpus, folder, monkeypatch, asked: str = "bpe:300", sentinels: int = 4, **options):
    monkeypatch.setattr(module, "PART", 6_000)
    source = JsonLines(corpus)
    job = job_of(source, f"jsonl:{corpus}", asked, sentinels)
    return tokenize(source, job, asked, folder, 1, 0.001, **options)


def test_every_text_comes_back_whole(corpus, tmp_path, monkeypatch):
    said = made(corpus, tmp_path / "out", monkeypatch)
    assert len(said["parts"]) > 5
    words = vocabulary_of(read_tokenizer(str(tmp_path / "out/tokenizer.json")))
    assert (words.size, words.sentinels, words.pad) == (300, 4, 0)
    shards = TokenShards(tmp_path / "out", 64)
    tokenizer, kept = load(str(tmp_path / "out/tokenizer.json")), texts(300)
    assert [tokenizer.decode(shards.document(i).tolist(), skip_special_tokens=False) for i in range(len(kept))] == kept
    assert all(set(shards.document(i).tolist()).isdisjoint(words.signs) for i in range(len(SIGNS)))
    assert shards.bytes == said["bytes"] == sum(len(text.encode()) for text in kept)
    assert np.load(next((tmp_path / "out").glob("*.tokens.npy"))).dtype == np.uint16


def test_rows_are_the_documents_beside_one_another(corpus, tmp_path, monkeypatch):
    made(corpus, tmp_path / "out", monkeypatch)
    whole, every = (TokenShards(tmp_path / "out", 48, pack=pack) for pack in ("whole", "concat"))
    documents = [[2, *every.document(i).tolist(), 3] for i in range(len(texts(300)))]
    stream = [row["tokens"][row["segments"] > 0] for row in map(every.__getitem__, range(len(every)))]
    assert np.concatenate(stream).tolist() == [token for document in documents for token in document]
    assert all(len(row) == 48 for row in stream[:-1])
    length = next(n for n in range(3, 10**6) if sum(map(len, documents)) % n == 1)
    odd = TokenShards(tmp_path / "out", length)  # its last row holds nothing but the sign of the last end
    assert odd[len(odd) - 1]["tokens"].tolist() == [3] + [0] * (length - 1)
    with pytest.raises(IndexError):
        odd[len(odd)]
    rows = [whole[i] for i in range(len(whole))]
    found = [row["tokens"][row["segments"] == s].tolist() for row in rows for s in range(1, row["segments"].max() + 1)]
    assert found == [each if len(each) <= 48 else [*each[:47], 3] for each in documents]
    for row in (*rows, *map(every.__getitem__, range(len(every)))):
        assert {x.shape for x in row.values()} == {(48,)}
        assert ((np.diff(row["positions"]) == 1) | (np.diff(row["segments"]) != 0) | (row["segments"][1:] == 0)).all()
        assert (row["tokens"][row["segments"] == 0] == 0).all()
    with pytest.raises(UserError, match=r"document \d+ has \d+ tokens, more than a row of 48"):
        TokenShards(tmp_path / "out", 48, pack="whole", long="refuse")


def test_held_out_documents_are_in_one_split_only(corpus, tmp_path, monkeypatch):
    made(corpus, tmp_path / "out", monkeypatch)
    parts = [TokenShards(tmp_path / "out", 64, split=split, heldout=0.2) for split in ("train", "heldout")]
    found = [{part.document(i).tobytes() for i in range(len(part._sizes))} for part in parts]
    assert not found[0] & found[1]
    assert 30 < len(parts[1]._sizes) < 95
    assert sum(len(part._sizes) for part in parts) == len(texts(300))
    assert len({part.fingerprint() for part in (*parts, TokenShards(tmp_path / "out", 64))}) == 3


def test_a_text_longer_than_everything_is_one_document(tmp_path):
    (tmp_path / "long.txt").write_text("the cat and the dog " * 20_000)
    source = TextFiles(tmp_path, tokenizer="wordnet", length=16)
    tokenize(source, job_of(source, "text:", "wordnet", 0), "wordnet", tmp_path / "out", 1, 0.0)
    shards = TokenShards(tmp_path / "out", 16)
    assert shards[0]["tokens"][1:15].tolist() == source[0]["tokens"][1:15].tolist()
    assert len(shards) == -(-(len(shards.document(0)) + 2) // 16)
    middle = shards[len(shards) // 2]
    assert (middle["segments"] == 1).all()
    assert middle["positions"].tolist() == list(range(16))


def test_parts_made_in_any_order_and_again_give_the_same_bytes(corpus, tmp_path, monkeypatch):
    made(corpus, tmp_path / "whole", monkeypatch)
    source, advanced = JsonLines(corpus), []
    job = job_of(source, f"jsonl:{corpus}", "bpe:300", 4)
    folder = tmp_path / "parts"

    def stopped(size: int) -> None:
        advanced.append(size)
        if len(advanced) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(corpus, folder, monkeypatch, advance=stopped)
    with pytest.raises(UserError, match="are not made, number 3 first"):
        merged(source, job, folder, 0.001)
    for number in reversed(range(3, len(source.parts(job.part)))):
        shard(source, job, folder, number)
    path = folder / "00001-of-00006.tokens.npy"
    path = path if path.exists() else next(folder.glob("00001-*.tokens.npy"))
    path.write_bytes(path.read_bytes()[:-2])  # damaged: made again
    made(corpus, folder, monkeypatch)
    assert digests(folder) == digests(tmp_path / "whole")
    with pytest.raises(UserError, match="holds another preparation, of tokenizer 'bpe:300' and not 'bpe:310'"):
        made(corpus, folder, monkeypatch, "bpe:310")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="is not the tokenizer that these tokens were made with"):
        TokenShards(folder)


@pytest.mark.slow
def test_processes_killed_twice_give_the_same_bytes(tmp_path):
    (tmp_path / "c.txt").write_text("\n".join(texts(60_000)))
    command = [sys.executable, "-c", "import sys; from ssl_jax.data.text import tokenize as t; t.PART = 300_000\n"
               "from ssl_jax.cli import main; sys.exit(main(sys.argv[1:]))",
               "data", "tokenize", f"text:{tmp_path}/c.txt?per=line", "--tokenizer=bpe:300", "--workers=2", "--out"]  # fmt: skip
    for _ in range(2):
        process = subprocess.Popen([*command, str(tmp_path / "killed")])
        before = len(list((tmp_path / "killed").glob("*.tokens.npy"))) if (tmp_path / "killed").exists() else 0
        while len(list((tmp_path / "killed").glob("*.tokens.npy"))) < before + 2 and process.poll() is None:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "killed/manifest.json").exists()
    for name in ("killed", "whole"):
        subprocess.run([*command, str(tmp_path / name)], check=True)
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")


PLAIN = {"model": {"type": "WordLevel", "vocab": {"a": 0, "cat": 1}, "unk_token": "a"}}


def in_folder(folder) -> None:
    (folder / "bad").mkdir()
    (folder / "bad/a.txt").write_bytes(b"caf\xe9")
    (folder / "empty").mkdir()
    (folder / "empty/a.txt").write_text("")
    (folder / "blank").mkdir()
    (folder / "blank/a.txt").write_text(" \n ")
    (folder / "some.jsonl").write_text('{"text": "a cat"}\n' * 9 + "{\n")
    (folder / "pairs.jsonl").write_text('{"query": "a cat", "passage": "it runs"}\n')
    (folder / "plain.json").write_text(json.dumps(PLAIN))
    np.save(folder / "x.npy", np.zeros((4, 2), np.uint8))
    (folder / "out").mkdir()
    (folder / "out/photo.jpg").write_text("")


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("text:bad", (), r"no text to train bpe:300 on.*no UTF-8"),
        ("text:bad", ("--tokenizer", "wordnet"), r"1 documents cannot be read, 'a.txt' first \(no UTF-8 at byte 3"),
        ("text:empty", (), "and all are empty"),
        ("text:blank", ("--tokenizer", "wordnet"), "no document with text: 1 are empty"),
        ("text:none", (), "none' cannot be read"),
        ("text:blank?per=page", (), "'file' or per 'line'"),
        ("jsonl:some.jsonl", ("--tokenizer", "wordnet"), r"'some.jsonl at byte 162' first.*--max-bad-fraction"),
        ("jsonl:pairs.jsonl", (), r"no field 'text'; they have 'query', 'passage'"),
        ("jsonl:pairs.jsonl?text=query,passage", (), "names several fields"),
        (
            "jsonl:some.jsonl",
            ("--tokenizer", "plain.json"),
            r"needs the token 'end'.*add it when the tokenizer is trained",
        ),
        ("jsonl:some.jsonl", ("--tokenizer", "gone.json"), r"gone.json is no tokenizer.json"),
        ("jsonl:some.jsonl", ("--tokenizer", "bpe:100"), "N from 261 to 1048576"),
        ("jsonl:some.jsonl", ("--tokenizer", "wordnet", "--sentinels", "9"), "is for a tokenizer that is trained"),
        ("jsonl:some.jsonl", ("--out", "out"), "is not empty"),
        ("npy:x.npy", (), "holds no text"),
    ],
)
def test_what_cannot_be_tokenised_is_told_with_the_remedy(tmp_path, monkeypatch, capsys, source, options, message):
    in_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["data", "tokenize", source, "--tokenizer", "bpe:300", "--out", "new", "--workers", "1", *options]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_the_command_says_what_it_wrote_and_what_it_left_out(tmp_path, monkeypatch, capsys):
    in_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    command = [
        "data",
        "tokenize",
        "jsonl:some.jsonl",
        "--tokenizer",
        "bpe:300",
        "--out",
        "new",
        "--max-bad-fraction",
        "0.2",
    ]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "9 documents of" in told
    assert "left out 1 that cannot be read, 'some.jsonl at byte 162' first" in told
    assert f"tokens:{tmp_path}/new" in told
