"""`tools/verify` writes what was measured as a table, and keeps the rows of what was not run again."""

import json
import runpy
import sys
from pathlib import Path

TOOL = str(Path(__file__).parents[2] / "tools" / "verify")


def check(name, status, **measured):
    return {"name": name, "status": status, "measured": measured}


def test_a_row_is_replaced_and_the_others_stay(tmp_path, monkeypatch, capsys):
    runs, out = tmp_path / "runs", tmp_path / "verify.md"
    runs.mkdir()
    checks = [check("devices", "pass", loss=1e-7, gradient=2e-8), check("tensor", "does not apply")]
    report = {"passed": True, "checks": checks, "cpu_seconds": 41.6}
    (runs / "simclr_conv_fashion.json").write_text(json.dumps(report))
    header = runpy.run_path(TOOL)["HEADER"]
    old = "| `mae_vit_fashion` | 9 of 9 |  |  |  | 1.0e-08 (loss of fsdp) | 94 |"
    gone = "| `no_such_recipe` | 9 of 9 |  |  |  | 1.0e-08 (loss of fsdp) | 94 |"
    stale = "| `simclr_conv_fashion` | 0 of 9 |  |  |  | 1.0e-08 (loss of fsdp) | 94 |"
    out.write_text(f"# What was measured\n\n{header}\n{stale}\n{old}\n{gone}\n")

    def run():
        monkeypatch.setattr(sys, "argv", ["verify", "--runs", str(runs), "--out", str(out), "simclr_conv_fashion"])
        return runpy.run_path(TOOL)["main"]()

    assert run() == 0
    new = "| `simclr_conv_fashion` | 1 of 2 |  | tensor |  | 1.0e-07 (loss of devices) | 42 |"
    assert out.read_text() == f"# What was measured\n\n{header}\n{old}\n{new}\n"
    (runs / "simclr_conv_fashion.json").write_text(json.dumps(report | {"passed": False}))
    assert run() == 1
