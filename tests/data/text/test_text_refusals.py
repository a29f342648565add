"""What is wrong with texts or their tokenizer is told before the first step, with the remedy, and the exit code is 2."""

import json
import re

import pytest

from ssl_jax.cli import main

SIGNS = ["[PAD]", "[MASK]", "[CLS]", "[SEP]", "[UNK]"]


def tokenizer(path, signs: list[str]) -> str:
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "cat": 2, "runs": 3}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(signs)
    made.save(str(path))
    return str(path)


def train(*overrides: str, recipe: str = "mlm_bert_wordnet:tiny") -> list[str]:
    return ["train", "--config", recipe, "--workdir", "run", *(f"--config.{override}" for override in overrides)]


CASES = {
    "no mask": (
        ["augment.tokenizer=nomask.json"],
        r"mlm needs the token 'mask'.*\[MASK\] or <mask>.*augment.vocabulary",
    ),
    "no pad": (["augment.tokenizer=nopad.json"], r"a row of one text needs the token 'pad'"),
    "no such tokenizer": (["augment.tokenizer=gone.json"], r"gone.json is no tokenizer.json.*ssl-jax data tokenize"),
    "a small table": (
        ["augment.tokenizer=all.json", "model.vocabulary=6"],
        r"the tokenizer has 8 tokens, and encoder has a table of 6: set vocabulary=8",
    ),
    "another tokenizer": (
        ["data.pretrain=tokens:shards", "augment.tokenizer=all.json"],
        r"records of TokenShards were made by another tokenizer than augment.tokenizer='.*all.json'",
    ),
    "no shards": (["data.pretrain=tokens:."], r"holds no manifest of tokens; ssl-jax data tokenize SRC --out"),
    "invalid UTF-8": (["data.pretrain=jsonl:bad.jsonl"], r"cannot be read.*no UTF-8.*max_bad_fraction"),
    "empty documents": (["data.pretrain=jsonl:blank.jsonl"], r"cannot be read.*the text is empty.*max_bad_fraction"),
    "no such field": (["data.pretrain=jsonl:good.jsonl?text=body"], r"no field 'body'; they have 'text'"),
    "no such label": (["data.pretrain=jsonl:good.jsonl?label=topic"], r"no field 'topic'; they have 'text'"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("texts")
    for name, without in {"all": (), "nomask": ("[MASK]",), "nopad": ("[PAD]",)}.items():
        tokenizer(made / f"{name}.json", [sign for sign in SIGNS if sign not in without])
    (made / "good.jsonl").write_text(json.dumps({"text": "a cat runs"}) + "\n")
    (made / "bad.jsonl").write_bytes(b'{"text": "caf\xe9"}\n' * 9)
    (made / "blank.jsonl").write_text('{"text": " "}\n' * 9)
    out = ["--tokenizer", "wordnet", "--out", str(made / "shards"), "--workers", "1"]
    assert main(["data", "tokenize", f"jsonl:{made}/good.jsonl", *out]) == 0
    return made


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_cannot_learn_from_its_texts_is_refused(folder, tmp_path, monkeypatch, capsys, case):
    overrides, message = CASES[case]
    monkeypatch.chdir(folder)
    named = [text for text in overrides if text.startswith("data.pretrain")]
    usual = [] if named else ["data.pretrain=jsonl:good.jsonl"]
    command = [word if word != "run" else str(tmp_path / "run") for word in train(*usual, *overrides)]
    assert main(command) == 2
    assert re.search(message, capsys.readouterr().err.replace("\n", " ")), case


@pytest.mark.slow
def test_probes_of_texts_without_labels_are_refused(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    sources = [f"data.{part}=jsonl:good.jsonl" for part in ("probe", "test")]
    command = train("data.pretrain=tokens:shards", *sources, "total_examples=16")
    command[command.index("run")] = str(tmp_path / "run")
    assert main(command) == 0
    assert main(["eval", "--workdir", str(tmp_path / "run")]) == 2
    assert "no labels; name a labelled source in data.probe" in capsys.readouterr().err.replace("\n", " ")
