"""docs/results/faults.md names tests that exist, for every fault."""

import ast
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def rows():
    text = (ROOT / "docs" / "results" / "faults.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| (\d+) \|.*$", text, re.MULTILINE)
    lines = re.findall(r"^\| \d+ \|.*$", text, re.MULTILINE)
    return {int(n): re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", line) for n, line in zip(found, lines, strict=True)}


def test_every_fault_has_a_test_that_exists():
    table = rows()
    assert list(table) == list(range(1, 65))
    for number, named in table.items():
        assert named, number
        for file, test in named:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (file, test)


def test_the_jobset_is_yaml_whose_numbers_agree():
    spec = yaml.safe_load((ROOT / "tools" / "launch" / "gke_tpu_jobset.yaml").read_text(encoding="utf-8"))["spec"]
    job = spec["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    chips = eval(pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].replace("x", "*"), {})
    assert job["parallelism"] == job["completions"]
    assert job["completions"] * pod["containers"][0]["resources"]["limits"]["google.com/tpu"] == chips
