"""Codebooks of k-means: the centres that are there, the same for the same rows, refused where rows are too few."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from ssl_jax.data.codebook import arrays_like, fitted_codebook, vectors_of
from ssl_jax.errors import UserError


def test_centres_of_clusters_are_found_again():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, 5)) * 10
    rows = (centres[:, None] + rng.normal(size=(6, 200, 5)) * 0.1).reshape(-1, 5)
    found = fitted_codebook(rows, 6)
    assert (found.shape, found.dtype) == ((6, 5), np.float32)
    np.testing.assert_array_equal(found, fitted_codebook(rows.copy(), 6))
    apart = np.linalg.norm(found[:, None] - centres[None], axis=-1)
    assert (apart.min(axis=0) < 0.1).all()


def test_fewer_rows_than_codes_are_refused():
    with pytest.raises(UserError, match=r"4 codes were asked for.* have 2 different rows; use fewer"):
        fitted_codebook(np.asarray([[0.0], [1.0]] * 8), 4)


def test_vectors_are_made_in_parts():
    records = {"x": np.arange(14.0).reshape(7, 2)}
    found = vectors_of(lambda part: part["x"][:, :, None] * 2, records, at_once=3)
    np.testing.assert_array_equal(found, 2 * np.arange(14.0)[:, None])


def test_a_codebook_comes_from_a_file_of_the_same_names_and_shapes(tmp_path):
    path, rows = str(tmp_path / "codes.safetensors"), np.arange(6, dtype=np.float32).reshape(3, 2)
    save_file({"rows": rows}, path)
    np.testing.assert_array_equal(arrays_like(path, {"rows": np.zeros((3, 2))})["rows"], rows)
    for tree in ({"rows": np.zeros((4, 2))}, {"a": {"rows": np.zeros((3, 2))}}):
        with pytest.raises(UserError, match=r"holds \{'rows': \(3, 2\)\}, and the tokenizer needs"):
            arrays_like(path, tree)
    with pytest.raises(UserError, match="is no safetensors file that can be read"):
        arrays_like(str(tmp_path / "none"), {})
