"""Targets, losses and measures of labels of every kind, and mixing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.losses.classification import classification
from ssl_jax.losses.mixing import cutmix, mixup
from ssl_jax.losses.tasks import TASKS, one_hot, smoothed, soft_cross_entropy

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 4)).astype(np.float32)
LABELS = np.array([0, 3, 1, 2, 2, 0])


def test_one_class_is_cross_entropy_and_accuracy():
    loss, accuracy = classification(LOGITS, LABELS)
    task = TASKS["class"]
    np.testing.assert_allclose(task.loss(LOGITS, task.targets(LABELS, 4)).value, loss.value, rtol=1e-6)
    assert task.measures(LOGITS, LABELS)["accuracy"].value == accuracy.value


def test_tokens_without_a_label_do_not_count():
    task, some = TASKS["tokens"], np.array([[0, -1, 1], [-1, -1, 2]])
    logits = LOGITS.reshape(2, 3, 4)
    given = some >= 0
    wanted = classification(jnp.asarray(logits[given]), jnp.asarray(some[given]))
    assert task.measures(logits, some)["accuracy"].value == wanted[1].value
    for targets in (task.targets(some, 4), smoothed(task.targets(some, 4), 0.0)):
        np.testing.assert_allclose(task.loss(logits, targets).value, wanted[0].value, rtol=1e-6)


def test_several_classes_and_numbers():
    several = (RNG.uniform(size=(6, 4)) > 0.5).astype(np.int32)
    probability = 1 / (1 + np.exp(-LOGITS))
    wanted = -(several * np.log(probability) + (1 - several) * np.log(1 - probability)).mean()
    task = TASKS["classes"]
    np.testing.assert_allclose(task.loss(LOGITS, task.targets(several, 4)).value, wanted, rtol=1e-5)
    np.testing.assert_allclose(
        task.measures(LOGITS, several)["accuracy"].value, ((LOGITS > 0) == several).mean(), rtol=1e-6
    )
    numbers, column = TASKS["numbers"], RNG.normal(size=6).astype(np.float32)
    error = numbers.loss(LOGITS[:, :1], numbers.targets(column, 1)).value
    np.testing.assert_allclose(error, np.square(LOGITS[:, 0] - column).mean(), rtol=1e-6)
    np.testing.assert_allclose(numbers.measures(LOGITS[:, :1], column)["error"].value, error, rtol=1e-6)


def test_smoothing_spreads_a_share_of_the_target():
    np.testing.assert_allclose(smoothed(one_hot(np.array([1]), 4), 0.2), [[0.05, 0.85, 0.05, 0.05]], rtol=1e-6)
    uniform = soft_cross_entropy(jnp.zeros((3, 4)), smoothed(one_hot(LABELS[:3], 4), 0.5))
    np.testing.assert_allclose(uniform.value, np.log(4), rtol=1e-6)


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_images_and_targets_are_mixed_by_the_same_share(mix):
    images = np.stack([np.full((8, 6, 1), float(i)) for i in range(4)])
    seen = set()
    for seed in range(8):
        mixed, targets = mix(jax.random.key(seed), images, jnp.eye(4), 1.0)
        # row 0 has 0 and its partner 3: the mean of the pixels over 3 is the partner's share
        np.testing.assert_allclose(mixed[0].mean() / 3, targets[0, 3], atol=1e-5)
        np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-5)
        seen.add(round(float(targets[0, 3]), 3))
    assert len(seen) > 4
