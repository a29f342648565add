"""The figures of `tools/benchmark_input`: what they are of, not how large."""

import io
import json

import numpy as np
from PIL import Image

from ssl_jax.benchmark import input as measured
from ssl_jax.benchmark.input import Settings


def test_photographs_have_the_size_and_the_bytes_of_imagenets():
    data = [measured.photo(seed) for seed in range(3)]
    assert data[0] == measured.photo(0)
    assert {Image.open(io.BytesIO(d)).size for d in data} == {(500, 375)}
    assert all(40_000 < len(d) < 60_000 for d in data)


def test_rates_and_errors_are_of_the_same_crops():
    photos = [measured.photo(seed) for seed in range(2)]
    rates = measured.per_core(photos, 1, ("antialias",))
    assert 0 < rates["antialias"]["least"] <= rates["antialias"]["median"] <= rates["antialias"]["most"]
    errors = measured.errors(photos)
    assert errors["antialias"]["most"] <= 2
    assert errors["antialias"]["mean"] < errors["fast"]["mean"] < 2
    assert measured.cores(1250.0) == {"1000": 1, "3000": 3, "10000": 10}


def test_the_pipeline_of_the_benchmark_is_the_real_one(tmp_path):
    photos = [measured.photo(seed) for seed in range(4)]
    with measured.folder(photos) as root:
        found = measured.rate(measured.ImageFolder(root, size=32), Settings(batches=1, batch=2), threads=1)
        assert measured.peers(root, Settings()) is None
    assert found > 0
    names = ("Pillow", "antialias", "fast")
    table = measured.as_text(
        {
            "photos": {"count": 4, "bytes": float(np.mean([len(p) for p in photos]))},
            "hardware": {"cores": 2},
            "per_core": {name: {"median": 500.0, "least": 400.0, "most": 600.0} for name in names},
            "pixel_error": measured.errors(photos[:1]),
            "pipeline": {"squares": found},
            "device": {"kind": "cpu", "colours": 1.0},
            "cores_needed": measured.cores(500.0),
            "torch": json.loads('{"torch": "2"}'),
        }
    )
    assert "antialias" in table
    assert "x 1.00" in table
    assert "3 for 1,000" in table
