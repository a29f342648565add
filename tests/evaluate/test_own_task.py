"""What a pretext method says about its own task on records that it has not seen."""

import importlib
import json
import pkgutil
from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import objectives
from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.sources.arrays import Arrays
from ssl_jax.errors import UserError
from ssl_jax.evaluate.own_task import columns_of, missing_fields, own_task, refused, with_own_task
from ssl_jax.evaluate.suite import save, table
from ssl_jax.losses.mean import mean_of
from ssl_jax.models.conv import ConvNet
from ssl_jax.objectives.base import Objective, State
from ssl_jax.objectives.jigsaw import Jigsaw
from ssl_jax.objectives.relative_position import RelativePosition
from ssl_jax.objectives.rotnet import RotNet
from ssl_jax.objectives.vicreg import VICReg

NET = ConvNet((8,), (2,), (3,), norm="batch", pool="mean")
WHOLE = ImageViews(12, (0.3,), (0.4,), {"image": {}})
PRETEXTS = {
    4: RotNet(NET, WHOLE),
    5: Jigsaw(NET, WHOLE, 5, 3, tile_out=8, hidden=(16,)),
    8: RelativePosition(NET, WHOLE, 3, 1, 0, patch_out=8, hidden=(16,)),
}


def source(count):
    image = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 12, 12, 1), np.uint8)
    return Arrays({"image": image, "label": np.arange(count)})


@dataclass(frozen=True)
class Parity(Objective):
    """A task that is solved where the pixels of an image are even."""

    def views(self, keys, batch, progress):
        assert "label" not in batch
        return {"image": batch["image"]}

    def validate(self, params, extra, views, key):
        return {"accuracy": mean_of((views["image"][:, 0, 0, 0] % 2 == params["even"]).astype(jnp.float32))}


def test_accuracy_is_the_mean_over_every_record_whatever_the_batch_size():
    state = State({"even": jnp.zeros(())}, {})
    for size in (5, 23, 256):
        found = own_task(Parity(NET, WHOLE), state, source(23), batch_size=size)
        assert found == {"accuracy": np.float32(12 / 23), "n_test": 23}
    assert own_task(Parity(NET, WHOLE), state, source(3), batch_size=5)["accuracy"] == np.float32(2 / 3)


def test_every_pretext_reports_its_accuracy_beside_chance_and_others_report_nothing():
    for classes, objective in PRETEXTS.items():
        batch = {"image": jax.ShapeDtypeStruct((6, 12, 12, 1), jnp.uint8)}

        def measured(key, batch, objective=objective):
            from ssl_jax.objectives.base import Keys, Progress

            views = objective.views(Keys(jax.random.split(key, 6), key), batch, Progress(0, 1))
            state = objective.init(key, views)
            return objective.validate(*state, views, key)

        shapes = jax.eval_shape(measured, jax.random.key(0), batch)
        assert shapes.keys() == {"accuracy", "chance"}
        chance = objective.validate.__globals__["with_chance"]({}, classes)["chance"].value
        assert float(chance) == np.float32(1 / classes)
    vicreg = VICReg(NET, replace(WHOLE, views={"image": {"count": 2}}))
    assert vicreg.validate({}, {}, {}, jax.random.key(0)) == {}


def test_rotnet_is_right_where_its_answers_are():
    objective = PRETEXTS[4]
    rng = np.random.default_rng(0)
    images = Arrays({"image": rng.integers(0, 256, (6, 12, 12, 1)).astype(np.uint8)})
    views = {"image": jnp.zeros((6, 4, 12, 12, 1))}
    params, extra = jax.jit(objective.init)(jax.random.key(0), views)
    params["head"] = jax.tree.map(jnp.zeros_like, params["head"])
    found = own_task(objective, State(params, extra), images)
    assert (found["accuracy"], found["chance"], found["n_test"]) == (0.25, 0.25, 6)  # equal logits: always "not turned"


def test_the_task_is_a_column_of_its_run_only(tmp_path):
    row = {"knn": {"accuracy": 0.5, "chance": 0.1}}
    results = {
        "encoders": ["student"], "step": 3, "seed": 0, "train": {"records": 5}, "test": {"records": 5},
        "protocol": {"knn": "kNN"}, "columns": [{"title": "kNN", "value": "accuracy", "unit": "percent", "probe": "knn"}],
        "rows": {"pretrained (student)": row, "random init": row},
    }  # fmt: skip
    assert with_own_task(results, "pretrained (student)", {}) is results
    both = with_own_task(results, "pretrained (student)", {"accuracy": 0.75, "chance": 0.25, "n_test": 5})
    head, first, second = table(both).splitlines()[:3]
    assert head.endswith("own task")
    assert first.endswith("75.0")
    assert second.endswith("-")
    save(both, tmp_path)
    assert list(json.loads((tmp_path / "eval" / "own_task.json").read_text())["rows"]) == ["pretrained (student)"]


@dataclass(frozen=True)
class Words(Parity):
    """A task that says how it is shown."""

    validated: ClassVar = (
        {"title": "words", "value": "accuracy", "unit": "percent"},
        {"title": "perplexity", "value": "nats", "unit": "exp"},
    )

    def validate(self, params, extra, views, key):
        nats = mean_of(jnp.full(len(views["image"]), jnp.log(7.0)))
        return super().validate(params, extra, views, key) | {"nats": nats}


def test_a_task_names_its_columns_or_each_measure_is_one():
    row = "pretrained (student)"
    results = {
        "encoders": ["student"], "step": 3, "seed": 0, "train": {"records": 5}, "test": {"records": 5},
        "protocol": {}, "columns": [], "rows": {row: {}},
    }  # fmt: skip
    objective = Words(NET, WHOLE)
    found = own_task(objective, State({"even": jnp.zeros(())}, {}), source(4))
    head, shown = table(with_own_task(results, row, found, objective.validated)).splitlines()[:2]
    assert (head.split(), shown.split()[-2:]) == (["words", "perplexity"], ["50.0", "7"])
    measured = {"accuracy": 0.5, "chance": 0.25, "recall_at_5": 0.25, "nats": 2.0, "n_test": 4}
    assert [(c["title"], c["unit"]) for c in columns_of(measured)] == [
        ("own task", "percent"), ("own task: recall_at_5", "percent"), ("own task: nats", "number"),
    ]  # fmt: skip


@dataclass(frozen=True)
class Segmented(Parity):
    """Views that need a field which single records do not have."""

    def views(self, keys, batch, progress):
        return {"image": batch["image"], "segments": batch["segments"]}


def test_records_that_lack_what_views_are_made_of_are_told_by_the_field():
    wanted = ("image", "segments", "state", "book")
    assert missing_fields(Segmented(NET, WHOLE), ("image", "label"), source(2)) == []
    assert missing_fields(Segmented(NET, WHOLE), wanted, source(2), "book", "state") == ["segments"]
    assert missing_fields(Parity(NET, WHOLE), wanted, source(2), "book", "state") == []


@dataclass(frozen=True)
class Large(Parity):
    """Views that small records are refused for."""

    def views(self, keys, batch, progress):
        if batch["image"].shape[1] < 20:
            raise UserError("records of 20 pixels, and these have 12")
        return {"image": batch["image"]}


def test_records_of_which_no_views_are_made_are_told_by_the_reason():
    assert refused(Large(NET, WHOLE), source(2)) == "records of 20 pixels, and these have 12"
    assert refused(Parity(NET, WHOLE), source(2)) == ""


def test_every_column_that_an_objective_declares_can_be_shown():
    """wav2vec 2.0 had one without a unit, and `eval` of it broke after all was measured."""
    names = [module.name for module in pkgutil.iter_modules(objectives.__path__)]
    found = (c for n in names for c in vars(importlib.import_module(f"ssl_jax.objectives.{n}")).values())
    told = [(c, getattr(c, "validated", ())) for c in found if isinstance(c, type)]
    declared = [(c, column) for c, columns in told if isinstance(columns, tuple) for column in columns]
    assert len(declared) > 10
    for owner, column in declared:
        results = {"columns": [column | {"probe": "own_task"}], "rows": {"x": {"own_task": {column["value"]: 0.5}}}}
        shown = results | {"protocol": {}, "step": None, "seed": 0, "test": {"records": 1}, "train": {"records": 1}}
        assert column["title"] in table(shown), owner
