"""docs/text.md holds: its commands run, in order, on a small folder of texts."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from ssl_jax.cli import main

PAGE = (Path(__file__).parents[1] / "docs" / "text.md").read_text(encoding="utf-8")
# Instead of what would take a quarter of an hour.
LESS = (
    "model.vocabulary=400",
    "total_examples=32",
    "evaluate.probes=knn,",
    "evaluate.baselines=raw,",
    "log.pictures=False",
)


@pytest.mark.slow
def test_the_commands_of_the_page_lead_to_its_report(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for place, count in (("train", 20), ("test", 6)):
        for kind, words in {
            "fables": ["ant", "cat", "fox", "owl", "sang", "ran"],
            "letters": ["dear", "we", "hope", "yours", "send", "soon"],
        }.items():
            folder = tmp_path / "books" / place / kind
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f"{i}.txt").write_text(" ".join(rng.choice(words, 40)))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```sh\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
    lines = [shlex.split(line)[1:] for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    assert [line[0] for line in lines] == ["data", "train", "eval", "report"]
    lines[1] = [word.replace("mlm_bert_wordnet", "mlm_bert_wordnet:tiny") for word in lines[1]]
    for line in lines:
        less = [f"--config.{text}" for text in LESS] if line[0] == "train" else []
        assert main([*line, *less]) == 0, line
    assert (tmp_path / "runs/books/report.html").is_file()
