"""Shapes and stamps: outlines and distances agree with what is seen, and records are functions of their number."""

import numpy as np
import pytest
from PIL import Image

from ssl_jax.data.image.scenes import FAR, Layer, composed
from ssl_jax.data.sources.shapes import Shapes
from ssl_jax.data.sources.stamps import Stamps
from ssl_jax.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Discs of one colour for each category, with an alpha channel."""
    folder = tmp_path_factory.mktemp("stamps")
    y, x = np.mgrid[-1:1:40j, -1:1:40j]
    for name, colour in (("blue", (0, 0, 255)), ("green", (0, 255, 0)), ("red", (255, 0, 0))):
        (folder / name / "deep").mkdir(parents=True)
        for i in range(20):
            alpha = 255 * (np.hypot(x, y) < 0.9)
            pixels = np.dstack([*(np.full(x.shape, c) for c in colour), alpha]).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / "deep" / f"{i}.png")
            (folder / name / "deep" / f"{i}.txt").write_text("a disc")
    (folder / "empty").mkdir()
    return folder


def test_a_near_layer_covers_a_far_one_and_what_lies_outside_is_cut_off():
    def full(value, kind, depth, at):
        return Layer(np.full((4, 4, 3), value, np.float32), np.ones((4, 4), np.float32), at, at, kind, depth)

    scene = composed(
        np.zeros((6, 6, 3), np.float32), [full(1.0, 2, 1.5, 3), full(0.5, 1, 3.0, -1), full(0.2, 3, 2.0, 20)]
    )
    assert scene.segments.tolist() == [[1, 1, 1, 0, 0, 0]] * 3 + [[0, 0, 0, 2, 2, 2]] * 3
    assert scene.depth[0, 0] == 3.0
    assert scene.depth[5, 5] == 1.5
    assert scene.depth[0, 5] == FAR
    assert scene.image[5, 5].tolist() == [255] * 3
    near = composed(np.zeros((6, 6, 3), np.float32), [full(1.0, 2, 1.5, 1), full(0.5, 1, 3.0, 1)])
    assert near.segments[2, 2] == 2


@pytest.mark.parametrize("kind", ["shapes", "stamps"])
def test_records_are_functions_of_their_number_and_maps_of_what_is_seen(kind, root):
    make = (lambda **o: Shapes(size=32, **o)) if kind == "shapes" else (lambda **o: Stamps(root, size=32, **o))
    source = make(count=12)
    assert len(source) == 12
    record, example = source[3], type(source).example(size=32)
    assert {k: (v.shape, v.dtype) for k, v in record.items()} == {k: (v.shape, v.dtype) for k, v in example.items()}
    for name, value in make(count=12)[3].items():
        np.testing.assert_array_equal(value, record[name])
    assert not np.array_equal(make(split="test")[3]["image"], record["image"])
    assert (
        len({make(count=12).fingerprint(), make(seed=1, count=12).fingerprint(), make(split="test").fingerprint()}) == 3
    )
    for i in range(12):
        scene = source[i]
        np.testing.assert_array_equal(scene["depth"] == FAR, scene["segments"] == 0)
        assert scene["segments"].max() < len(source.labels["segments"])
        assert 1 <= scene["depth"].min() < FAR
    with pytest.raises(IndexError):
        source[12]
    with pytest.raises(UserError, match="split='train' is not a split"):
        make(split="train")


def test_stamps_have_the_outline_of_their_alpha_and_splits_have_others(root):
    source = Stamps(root, size=48, count=20)
    assert source.classes == ("blue", "green", "red")
    for i in range(20):
        scene = source[i]
        for number, channel in ((1, 2), (2, 1), (3, 0)):
            inside = scene["image"][scene["segments"] == number].astype(int)
            if len(inside):  # half of a pixel at least is the disc's own colour
                assert (inside[:, channel] >= 127).all()
    parts = [{p for paths in Stamps(root, split).paths for p in paths} for split in ("pretrain", "probe", "test")]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 60
    with pytest.raises(UserError, match="tuxpaint-stamps-default"):
        Stamps(root / "none")
    with pytest.raises(UserError, match=r"no \.png stamps"):
        Stamps(root / "empty")
