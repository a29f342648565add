"""What the recipes of these forks share."""

from __future__ import annotations

from typing import Any

WIDTH = {"width": 16, "heads": 2, "depth": 1}


def run(source: str, probe: str) -> dict[str, Any]:
    """Every section that is the same in all of them."""
    data = {"pretrain": dict(target=source, split="pretrain")}
    data |= {split: dict(target=probe, split=split) for split in ("probe", "test")}
    few = dict(probes=("linear", "knn"), supervised_examples=64, health_examples=64)
    return dict(
        seed=0,
        batch_size=16,
        total_steps=4,
        data=data,
        optimizer=dict(name="adamw", lr=3e-3),
        evaluate=few,
        log=dict(every_steps=1),
    )
