from dataclasses import replace

import jax
import numpy as np
import pytest

from ssl_jax.data.sources.arrays import Arrays
from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Features, Split, _encode, extract, labelled_split, raw, standardise
from ssl_jax.objectives.base import Encoder


@pytest.mark.parametrize("batch_size", [7, 30, 64])
def test_every_record_is_encoded_once_and_in_order(encoder, variables, make_signals, batch_size):
    source = make_signals(30, 0)
    found = extract(encoder, variables, source, batch_size)
    expected = encoder.features(variables, {"signal": source.columns["signal"]})
    np.testing.assert_allclose(found.x, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.y, source.columns["label"])
    np.testing.assert_array_equal(found.ids, np.arange(30))
    assert (found.x.dtype, found.y.dtype) == (np.float32, np.int32)


def test_records_without_labels_have_features(encoder, variables, make_signals):
    source = Arrays({"signal": make_signals(5, 0).columns["signal"]})
    assert extract(encoder, variables, source).y is None


def test_another_field_can_be_the_label(encoder, variables, make_signals):
    columns = make_signals(6, 0).columns
    source = Arrays({"signal": columns["signal"], "instrument": columns["label"]})
    np.testing.assert_array_equal(extract(encoder, variables, source, label="instrument").y, columns["label"])


def test_an_encoder_is_compiled_once(encoder, variables, make_signals):
    extract(encoder, variables, make_signals(20, 0), 8)
    before = _encode._cache_size()
    extract(encoder, jax.tree.map(lambda x: x + 1, variables), make_signals(33, 1), 8)
    assert _encode._cache_size() == before


def test_batches_can_be_placed_on_a_mesh(encoder, variables, make_signals):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    variables = jax.device_put(variables, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    source = make_signals(30, 0)
    placed = extract(encoder, variables, source, 16, place=lambda batch: jax.device_put(batch, sharding))
    np.testing.assert_allclose(placed.x, extract(encoder, variables, source, 16).x, rtol=1e-5, atol=1e-6)


def test_a_source_that_loses_records_is_noticed(encoder, variables, make_signals, monkeypatch):
    from ssl_jax.data import pipeline

    whole = pipeline.once
    monkeypatch.setattr(
        pipeline, "once", lambda *a: ((batch, valid & (batch["_id"] != 3)) for batch, valid in whole(*a))
    )
    with pytest.raises(UserError, match="29 of 30 records"):
        extract(encoder, variables, make_signals(30, 0), 8)


def test_raw_inputs_are_the_preprocessed_fields_flattened():
    source = Arrays({"image": np.arange(96, dtype=np.uint8).reshape(4, 3, 4, 2), "extra": np.ones((4, 5))})
    halved = lambda batch: {"image": batch["image"] / 2.0, "extra": batch["extra"]}  # noqa: E731
    one = Encoder(None, (), ("image",), halved)
    np.testing.assert_allclose(raw(one, source).x, np.arange(96).reshape(4, 24) / 2)
    assert raw(replace(one, inputs=("image", "extra")), source).x.shape == (4, 29)
    plain = replace(one, plain=lambda batch: batch["extra"].sum(axis=1, keepdims=True))
    np.testing.assert_allclose(raw(plain, source).x, np.full((4, 1), 5.0))


def test_standardised_features_have_mean_zero_and_std_one_on_train():
    rng = np.random.default_rng(0)
    train, test = (rng.standard_normal((9000, 3)) * (1e-4, 1, 1e4) + (5, 0, -1e4) for _ in range(2))
    a, b = standardise(train, test)
    np.testing.assert_allclose(a.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(a.std(0), 1, rtol=1e-9)
    np.testing.assert_allclose(b, (test - train.mean(0)) / train.std(0), rtol=1e-6, atol=1e-6)


def test_a_feature_that_is_constant_in_train_is_zero_everywhere():
    train, test = np.full((10, 2), 0.1, np.float32), np.full((3, 2), 7, np.float32)
    train[:, 1] = np.arange(10)
    a, b = standardise(train, test)
    assert not a[:, 0].any()
    assert not b[:, 0].any()
    assert a[:, 1].any()


def labelled(y, x=None):
    y = np.asarray(y)
    return Features(np.ones((len(y), 2), np.float32) if x is None else x, y, np.arange(len(y)))


def test_a_split_knows_its_classes():
    assert labelled_split(labelled([0, 2, 1]), labelled([1])).classes == 3
    assert labelled_split(labelled([0, 2, 1]), labelled([5]), 6).classes == 6


def test_a_subset_labels_only_some_rows():
    part = Split(labelled([0, 1, 2, 3]), labelled([1]), 4).subset(np.array([1, 3]))
    assert part.train.y.tolist() == part.train.ids.tolist() == [1, 3]
    assert part.test.y.tolist() == [1]


@pytest.mark.parametrize(
    ("train", "test", "told"),
    [
        (labelled([0, 1])._replace(y=None), labelled([0]), "the probe split has no labels"),
        (labelled([0, 1]), labelled([0])._replace(y=None), "the test split has no labels"),
        (labelled([0, 1]), labelled([0, 2]), r"label 2 of record 1 is outside \[0, 2\)"),
        (labelled([0, -1]), labelled([0]), r"label -1 of record 1"),
        (labelled([0, 1], np.array([[1, 2], [np.nan, 1]])), labelled([0]), "1 of 2 records .* NaN or infinite"),
    ],
)
def test_features_that_cannot_be_probed_are_refused_with_the_reason(train, test, told):
    with pytest.raises(UserError, match=told):
        labelled_split(train, test)
