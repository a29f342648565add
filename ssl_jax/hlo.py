"""What a compiled program moves and holds, read from its text (`jax.jit(f).lower(...).compile().as_text()`)."""

from __future__ import annotations

import re
from collections import defaultdict

COLLECTIVE = r"= (.*?) (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
ARRAY = r"\b(?:pred|bf16|[fsu]\d+)\[([\d,]*)\]"


def shapes(text: str) -> set[tuple[int, ...]]:
    """The shape of every array in the program."""
    return {_dims(d) for d in re.findall(ARRAY, text)}


def sent_elements(text: str) -> dict[str, float]:
    """Elements that each device sends, by kind of collective, in one run of the program.

    Collectives in a loop count as often as the loop runs. A gather or scatter over n devices sends (n - 1) / n of the whole, an
    all-reduce twice that: the cost of the ring algorithms.
    """
    times, sent = _repetitions(text), defaultdict(float)
    partitions = re.search(r"num_partitions=(\d+)", text)
    everyone = int(partitions[1]) if partitions else 1
    for name, line in _lines(text):
        found = re.search(COLLECTIVE, line)
        if found:
            arrays = [_size(d) for d in re.findall(ARRAY, found[1])]
            # An asynchronous start names its operand and its result: the result counts.
            size = arrays[-1] if "-start(" in line and len(arrays) > 1 else sum(arrays)
            sent[found[2]] += times[name] * size * _share(found[2], _group(line) or everyone)
    return dict(sent)


def _share(kind: str, n: int) -> float:
    return {
        "all-gather": (n - 1) / n,
        "all-to-all": (n - 1) / n,
        "all-reduce": 2 * (n - 1) / n,
        "reduce-scatter": n - 1,  # of the result, which is 1 / n of the whole
        "collective-permute": 1,
    }[kind]


def _group(line: str) -> int:
    """Devices in a group of this collective; 0 where the line does not say, which means all."""
    listed = re.search(r"replica_groups=\{\{([\d,]+)\}", line)
    if listed:
        return len(listed[1].split(","))
    counted = re.search(r"replica_groups=\[\d+,(\d+)\]", line)
    return int(counted[1]) if counted else 0


def _lines(text: str) -> list[tuple[str, str]]:
    """(computation, line) of the whole program."""
    found, name = [], ""
    for line in text.splitlines():
        header = re.match(r"\s*(?:ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{", line)
        name = header[1] if header else name
        found.append((name, line))
    return found


def _repetitions(text: str) -> dict[str, int]:
    """How often each computation runs: the product of the trip counts of the loops around it."""
    outer = {}
    for name, line in _lines(text):
        count = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
        for called in re.findall(r"(?:body|calls|to_apply)=%?([\w.\-]+)", line):
            outer[called] = (name, int(count[1]) if count and f"body=%{called}" in line else 1)
    times: dict[str, int] = defaultdict(lambda: 1)
    for name in outer:
        at, product = name, 1
        while at in outer:
            at, count = outer[at]
            product *= count
        times[name] = product
    return times


def _dims(text: str) -> tuple[int, ...]:
    return tuple(int(d) for d in text.split(",") if d)


def _size(text: str) -> int:
    size = 1
    for d in _dims(text):
        size *= d
    return size
