"""Pictures are PNG files that depend on nothing but their arguments and say what the numbers say."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ssl_jax.report import plots

RANDOM = np.random.default_rng(0)
LABELS = np.arange(40) % 4
POINTS = RANDOM.normal(size=(40, 2)) + 8 * np.eye(4)[LABELS][:, :2]


def opened(png):
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB"))


CASES = {
    "scatter": lambda: plots.scatter(POINTS, LABELS, ("a", "b", "c", "d"), title="Features", note="a note"),
    "unlabelled scatter": lambda: plots.scatter(POINTS),
    "scatter of one point": lambda: plots.scatter(POINTS[:1], LABELS[:1]),
}


@pytest.mark.parametrize("case", CASES)
def test_picture_is_a_png_with_something_on_it(case):
    picture = opened(CASES[case]())
    assert min(picture.shape[:2]) >= 100
    assert (picture != 255).any()


def test_same_arrays_give_the_same_bytes():
    assert CASES["scatter"]() == CASES["scatter"]()


def test_numbers_keep_the_digits_before_their_point():
    numbers = (0, 0.05012, 12.3, 1249.6, 12_500.4, 4e-4, 3e30, float("nan"))
    assert [*map(plots.number, numbers)] == ["0", "0.05012", "12.3", "1250", "12,500", "4.0e-04", "3.0e+30", "nan"]


def test_smoothing_keeps_a_slope_and_its_gaps():
    values = np.linspace(0, 1, 200)
    values[50] = np.nan
    smooth = plots.smoothed(values, 0.8)
    np.testing.assert_allclose(smooth[80:-30], values[80:-30], atol=1e-3)
    assert np.isnan(smooth[50])
    assert np.isfinite(np.delete(smooth, 50)).all()


def test_names_are_moved_until_none_covers_another():
    centres = np.zeros((6, 2))
    sizes = np.full((6, 2), 10.0)
    moved = plots._apart(centres, sizes)
    assert np.diff(np.sort(moved[:, 1])).min() >= 10
    np.testing.assert_array_equal(moved[:, 0], 0)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_embedding_separates_what_is_apart_and_repeats(method):
    features = np.concatenate([RANDOM.normal(size=(20, 5)), RANDOM.normal(size=(20, 5)) + 30])
    points = plots.embed_2d(features, method, seed=1)
    assert points.shape == (40, 2)
    within = np.linalg.norm(points[:20] - points[:20].mean(0), axis=1).max()
    assert np.linalg.norm(points[:20].mean(0) - points[20:].mean(0)) > within
    np.testing.assert_array_equal(points, plots.embed_2d(features, method, seed=1))


def test_unknown_embedding_is_refused():
    with pytest.raises(ValueError, match="one of 'pca', 'tsne'"):
        plots.embed_2d(POINTS, "umap")


def test_importing_plots_imports_neither_jax_nor_a_plotting_library():
    code = (
        "import sys, ssl_jax.report.plots;"
        "print([m for m in ('jax', 'matplotlib', 'sklearn', 'PIL') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
