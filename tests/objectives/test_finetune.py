"""Fine-tuning: what moves and what does not, what the optimiser holds, what evaluation sees, labels of every kind."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.adapt.base import Frozen, Full
from ssl_jax.adapt.lora import LoRA
from ssl_jax.adapt.parts import LastBlocks
from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.sources import Arrays
from ssl_jax.errors import UserError
from ssl_jax.evaluate.own_task import own_task
from ssl_jax.models.conv import ConvNet
from ssl_jax.models.text import TextTransformer
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.base import Progress, State
from ssl_jax.objectives.finetune import Finetune
from ssl_jax.objectives.supervised import Supervised
from ssl_jax.optim import optimizers
from ssl_jax.training.step import Setup, init_state, train_step

VIEWS = ImageViews(8, (0.5,), (0.5,), {"image": {"count": 1, "scale": (0.5, 1.0)}})
TINY = partial(ViT, width=8, depth=2, heads=2, mlp_dim=8, patch=4, remat="none", cells=1)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 8, 8, 1), np.uint8)
LABELS = np.arange(12, dtype=np.int32) % 3
BATCH = {"image": IMAGES, "label": LABELS, "_id": np.arange(12), "_epoch": np.zeros(12, np.int64)}


def setup_of(**options):
    objective = Finetune(options.pop("encoder", TINY()), VIEWS, classes=3, **options)
    lr = lambda step: 0.05  # noqa: E731
    return Setup(objective, optimizers.adamw(lr, lambda step: 0.0), seed=0, total_steps=4)


# Views as they come from an augmentation, whose compilation takes longer than everything else here.
SEEN = {"image": RNG.normal(size=(12, 1, 8, 8, 1)).astype(np.float32), "label": LABELS}
NOW = Progress(0, 4)


def drawn(objective):
    """A state with numbers in the place of those that `init` draws."""
    shapes = jax.eval_shape(lambda: objective.init(jax.random.key(0), SEEN))
    return jax.tree.map(lambda x: RNG.uniform(0.1, 0.5, x.shape).astype(x.dtype), shapes)


def loss_of(objective):
    """`(state, seed) -> Out`, compiled."""
    return jax.jit(lambda state, seed: objective.loss(*state, SEEN, jax.random.key(seed), NOW))


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def lora():
    """A setup with LoRA and an average, its state before and after two steps."""
    setup = setup_of(adapt=LoRA(rank=2), average=0.5)
    before = after = jax.jit(partial(init_state, setup))(BATCH)
    step = jax.jit(partial(train_step, setup))
    for _ in range(2):
        after, _ = step(after, BATCH)
    return setup, before, after


def test_frozen_parameters_stay_and_have_no_moments(lora):
    _, before, after = lora
    jax.tree.map(np.testing.assert_array_equal, after.extra["frozen"], before.extra["frozen"])
    assert all(
        not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (after.params, before.params)), strict=True)
    )
    learned = 2 * (2 * (8 + 24) + 2 * (8 + 8)) + 3 * 8 + 3  # factors of two layers, and the head
    assert count(before.params) == learned
    assert count([x for x in jax.tree.leaves(before.opt_state) if x.ndim]) == 2 * learned


def test_evaluation_reads_one_merged_encoder_and_the_average_another(lora):
    setup, _, after = lora
    encoders = setup.objective.encoders()
    merged = encoders["student"].variables(after)["params"]
    assert jax.tree.structure(merged) == jax.tree.structure(after.extra["frozen"]["encoder"])
    whole = setup.objective.adapt.whole(after.params["encoder"], after.extra["frozen"]["encoder"])
    jax.tree.map(np.testing.assert_array_equal, merged, whole)
    averaged = encoders["average"].variables(after)["params"]
    kernels = [t["transformer"]["blocks"]["qkv"]["kernel"] for t in (merged, averaged)]
    assert not np.array_equal(*kernels)


def test_whole_and_parted_are_inverse(lora):
    setup, before, _ = lora
    state = State(before.params, before.extra)
    whole = setup.objective.whole(state)
    assert set(whole.extra) == set()
    again = setup.objective.parted(whole, jax.random.key(5))
    jax.tree.map(np.testing.assert_array_equal, again.extra["frozen"], state.extra["frozen"])
    assert jax.tree.structure(again) == jax.tree.structure(state)


def test_all_of_it_without_extras_is_supervised_learning():
    ours, plain = Finetune(TINY(), VIEWS, classes=3), Supervised(TINY(), VIEWS, classes=3)
    state = drawn(plain)
    a, b = (loss_of(objective)(state, 3) for objective in (ours, plain))
    np.testing.assert_allclose(a.total(), b.total(), rtol=1e-6)
    assert a.metrics["accuracy"].value == b.metrics["accuracy"].value


def test_stochastic_depth_and_mixing_draw_in_training_only():
    objective = Finetune(TINY(drop_path=0.5), VIEWS, classes=3, adapt=LastBlocks(1), mixup=0.4, cutmix=1.0)
    state, loss = drawn(objective), loss_of(objective)
    assert loss(state, 0).total() != loss(state, 1).total()
    right = jax.jit(lambda seed: objective.validate(*state, SEEN, jax.random.key(seed))["accuracy"].value)
    assert right(0) == right(1)
    assert "microbatch" in objective.accumulation_refusal(state.extra)


def test_batch_statistics_of_a_frozen_encoder_stay():
    conv = ConvNet(widths=(4, 4), strides=(2, 2), kernels=(3, 3), norm="batch", pool="mean", cells=1)
    for adapt, moves in ((Frozen(), False), (Full(), True)):
        objective = Finetune(conv, VIEWS, classes=3, adapt=adapt)
        state = drawn(objective)
        assert bool(jax.eval_shape(loss_of(objective), state, 0).batch_stats) is moves
        assert (objective.accumulation_refusal(state.extra) is not None) is moves


def test_its_own_test_sees_the_labels_and_counts_every_record():
    objective = Finetune(TINY(), VIEWS, classes=3, adapt=Frozen())
    state = drawn(objective)
    found = own_task(objective, state, Arrays({"image": IMAGES, "label": LABELS}))
    views = objective.held_out_views(None, {"image": jnp.asarray(IMAGES), "label": LABELS}, NOW)
    wanted = objective.validate(*state, views, None)["accuracy"].value
    assert found == {"accuracy": pytest.approx(float(wanted)), "n_test": 12}


def test_a_text_is_labelled_as_a_whole_or_token_by_token():
    encoder = TextTransformer(9, width=8, depth=1, heads=2, mlp_dim=8, length=5, dropout=0.1)
    tokens = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]], np.int32)[:, None]
    arrays = {"tokens": tokens, "segments": np.minimum(tokens, 1), "positions": tokens * 0 + np.arange(5)}
    for task, method, labels in (
        ("class", "features", [0, 1]),
        ("tokens", "__call__", [[0, 1, 0, -1, -1], [1, 1, 0, 0, 1]]),
    ):
        objective = Finetune(encoder, Words(), classes=2, task=task, method=method)
        seen, key = arrays | {"label": np.array(labels)}, jax.random.key(0)
        total = jax.eval_shape(lambda: objective.loss(*objective.init(key, seen), seen, key, NOW).total())  # noqa: B023
        assert total.shape == ()
        learned = jax.eval_shape(lambda: objective.init(key, seen).params)  # noqa: B023
        assert learned["head"]["dense_out"]["kernel"].shape == (8, 2)


@dataclass(frozen=True)
class Words:
    """What an objective asks of an augmentation of texts."""

    inputs = ("tokens", "segments", "positions")


class Records:
    """Twelve images with labels of any kind."""

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return {"image": IMAGES[index], "label": self.labels[index]}

    def values(self, name):
        return self.labels if name == "label" else None


REFUSED = [
    ({"task": "rank"}, None, "task='rank' is unknown"),
    ({"smoothing": 1.0}, None, "smoothing=1.0"),
    ({"classes": 0}, None, "classes=0"),
    ({"classes": 2}, LABELS, "classes=2: 'label' goes up to 2; set --config.objective.classes=3"),
    ({}, np.where(LABELS == 1, -1, LABELS), "4 of 12 records have no 'label'"),
    ({}, LABELS.astype(np.float32), "task=numbers"),
    ({"label": "kind"}, LABELS, "label='kind': the records have no such field, only image, label"),
    ({"task": "numbers", "classes": 2}, LABELS.astype(np.float32), "holds 1 numbers"),
]


@pytest.mark.parametrize(("options", "labels", "message"), REFUSED, ids=[m for *_, m in REFUSED])
def test_labels_that_do_not_fit_are_refused_with_the_remedy(options, labels, message):
    with pytest.raises(UserError, match=message):
        Finetune(TINY(), VIEWS, **({"classes": 3} | options)).check_source(Records(labels))
