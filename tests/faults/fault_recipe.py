"""A run of 24 steps that costs nothing, for injecting faults."""

# ruff: noqa: C408  (dict(...) reads like the keys that --config overrides)
from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    """`evaluated`: with records for `ssl-jax eval`."""
    test = dict(test=dict(target="fault_objective:Numbers", count=64)) if arg == "evaluated" else {}
    rows = dict(baselines=("raw",)) if arg == "evaluated" else {}
    return ConfigDict(
        dict(
            seed=0,
            batch_size=8,
            total_steps=24,
            objective=dict(target="fault_objective:Faulty", nan_at=(), inf_at=(), spike_at=()),
            model=dict(target="fault_objective:Flat", width=8),
            data=dict(
                pretrain=dict(
                    target="fault_objective:Numbers", count=64, log="", stall=(), delay=0.0, salt="", bad=(), hold=()
                ),
                probe=dict(target="fault_objective:Numbers", count=64),
                **test,
            ),
            augment=dict(target="fault_objective:Plain"),
            optimizer=dict(name="adamw", lr=1e-2, weight_decay=0.0),
            schedule=dict(name="cosine", warmup_percent=5),
            checkpoint=dict(every_steps=8),
            evaluate=dict(encoder="student", every_percent=50, health_examples=32, **rows),
            log=dict(every_steps=1, tensorboard=True),
        )
    )
