"""A record that does not hold what the augmentation takes it for is a bad record, wherever in the source it stands."""

import numpy as np
import pytest

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.fit import check_records
from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.pipeline import batches
from ssl_jax.data.sources.arrays import Arrays
from ssl_jax.data.sources.subset import Subset
from ssl_jax.errors import UserError

AUGMENT = ImageViews(8, (0.5,), (0.5,), {"image": {}})
RARE = 37  # none of the few that are looked at before the first step


def source_of(**wrong):
    images = np.random.default_rng(0).random((100, 8, 8, 1), np.float32)
    for index, value in wrong.items():
        images[int(index[1:]), 3, 4] = value
    return Arrays({"image": images})


@pytest.mark.parametrize("value", [1.02, -0.5, 255.0, np.inf])
@pytest.mark.parametrize("part", [lambda source: source, lambda source: Subset(source)])
def test_one_record_out_of_range_is_replaced_and_listed_with_its_number(value, part):
    bad = BadRecords(0.05)
    source = check_records(AUGMENT, part(source_of(_37=value)), bad)
    stream = batches(source, seed=0, batch_size=50, bad=bad)
    used = np.concatenate([next(stream)["_id"] for _ in range(2)])
    assert RARE not in used
    assert [entry.index for entry in bad.entries] == [RARE]
    assert "'image' holds float32 from " in bad.entries[0].reason
    assert len(source) == 100
    assert source.fingerprint() == part(source_of(_37=value)).fingerprint()


def test_what_resampling_leaves_and_nan_are_read_and_too_many_are_refused_with_the_first_number():
    fine = BadRecords(0.0)
    source = check_records(AUGMENT, source_of(_36=1.003, _37=np.nan), fine)
    for index in (36, 37):
        assert fine.read(source, index)[0] == index
    source = check_records(AUGMENT, source_of(_37=2.0), fine)
    with pytest.raises(UserError, match=r"The first: 37 \(ValueError: 'image' holds float32 from"):
        fine.read(source, RARE)
