"""What differs between the processes of a run is named, with the process and both values."""

import pytest

from ssl_jax.devices import agreement
from ssl_jax.devices.agreement import Report, comparing, difference, idle, modules, versions


def reports(*facts, **more):
    return [Report(f"n{i}", f, **more) for i, f in enumerate(facts)]


def test_equal_processes_agree():
    assert difference("data", reports({"a": "1"}, {"a": "1"})) == ""


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        (({"a": "1"}, {"a": "2"}), "process 1 on n1: a is 2; process 0 has 1"),  # of two, the first is right
        (({"a": "1"}, {"a": "2"}, {"a": "2"}), "process 0 on n0: a is 1; process 1 has 2"),  # of three, the two
        (({"a": "1"}, {}), "process 1 on n1: a is (not set); process 0 has 1"),
        (({"a": "x" * 500}, {"a": "y"}), f"process 1 on n1: a is y; process 0 has {'x' * 120}..."),
    ],
)
def test_the_odd_process_is_named(facts, line):
    assert difference("data", reports(*facts)).splitlines()[1:-1] == [f"  {line}"]


def test_what_one_process_cannot_start_with_is_told_to_all_and_long_lists_are_cut():
    failed = [*reports({"a": "1"}), Report("n9", {}, "no such file")]
    assert difference("data", failed) == "not all processes could start (data):\n  process 1 on n9: no such file"
    many = difference("data", reports(*({"a": str(i)} for i in range(20))))
    assert "  and 11 more\n" in many


@pytest.mark.parametrize(
    ("devices", "allotted", "line"),
    [
        (("8 x H",), 8, None),
        (("1 x H",), 8, "n: 8 devices, and its processes take 1"),  # one task a node, with one GPU
        (("1 x H",) * 8, 8, None),
        (("1 x H",) * 4, 8, "n: 8 devices, and its processes take 4"),
        (("1 x H",), None, None),
    ],
)
def test_devices_that_nobody_would_use_are_refused(devices, allotted, line):
    found = idle([Report("n", {"devices": d}, "", allotted) for d in devices])
    assert found.splitlines()[1:2] == ([] if line is None else [f"  {line}"])


def test_versions_hold_what_decides_the_numbers():
    found = versions()
    assert {"python", "jax", "jaxlib", "ssl_jax", "code of ssl_jax", "platform", "jax_enable_x64"} <= found.keys()
    assert found["platform"] == "cpu"
    assert modules(["ssl_jax.devices.agreement", "not.imported"]).keys() == {"code of ssl_jax.devices.agreement"}


def test_a_process_alone_compares_with_nobody(monkeypatch):
    monkeypatch.setattr(agreement, "peers", lambda: None)
    with comparing("data") as facts:
        facts["records"] = 1
    with pytest.raises(ValueError, match="bad"), comparing("data"):
        raise ValueError("bad")
