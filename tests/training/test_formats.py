"""Every format of files trains, stops, and resumes to the losses of a run that went through."""

import gzip
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_sets import WRITERS, picture

from ssl_jax.cli import main
from ssl_jax.data import kept, prepare
from ssl_jax.recipe.sources import opened

SHORT = (
    "--config=simclr_conv_fashion:tiny", "--config.batch_size=8", "--config.log.every_steps=1", "--config.total_steps=5",
    "--config.checkpoint.every_steps=3", "--config.evaluate.every_percent=0", "--config.log.tensorboard=False",
    "--config.log.pictures=False", "--config.data.probe=None", "--config.data.test=None",
    "--config.augment.size=16", "--config.augment.views.image.jitter_prob=0", "--config.model.widths=8,",
    "--config.model.strides=4,", "--config.model.kernels=3,", "--config.objective.hidden=8,", "--config.objective.out=8",
)  # fmt: skip


def prepared(kind: str, folder: Path) -> str:
    name = WRITERS["tar"](folder)
    source = opened(name, "x", size=28, channels=1)
    prepare.prepare(source, prepare.plan(source, name, kind, None), folder / kind, 1)
    return str(folder / kind)


def subset(folder: Path) -> str:
    name = WRITERS["parquet"](folder)
    assert main(["data", "subset", f"{name}?channels=1&size=28", str(folder / "x.json"), "--per-class", "3"]) == 0
    return f"subset:{folder}/x.json"


def tfds(folder: Path) -> str:
    import tensorflow_datasets as builders

    class Small(builders.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = builders.core.Version("1.0.0")
        url_infos = None

        def _info(self):
            features = {
                "image": builders.features.Image(shape=(None, None, 3)),
                "label": builders.features.ClassLabel(num_classes=3),
            }
            return builders.core.DatasetInfo(builder=self, features=builders.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i in range(12):
                yield i, {"image": io.BytesIO(picture(i)), "label": i % 3}

    Small(data_dir=str(folder), file_format="array_record").download_and_prepare()
    source = opened(f"tfds:small/train?data_dir={folder}&size=16", "x")
    np.testing.assert_array_equal(
        sorted(source.encoded(i)["image"] for i in range(12)), sorted(map(picture, range(12)))
    )
    return f"tfds:small/train?data_dir={folder}&size=28&channels=1"


def folder(root: Path) -> str:
    for i in range(12):
        (root / "cb"[i % 2]).mkdir(exist_ok=True)
        (root / "cb"[i % 2] / f"{i} é.jpg").write_bytes(picture(i))
    return f"folder:{root}"


def listed(root: Path) -> str:
    folder(root)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
    (root / "files.txt").write_text("".join(f"{name}\t{name[0]}\n" for name in names), encoding="utf-8")
    return f"list:{root}/files.txt"


def arrays(root: Path) -> str:
    np.save(root / "images.npy", np.arange(12 * 28 * 28, dtype=np.uint32).reshape(12, 28, 28, 1).astype(np.uint8))
    return f"npy:{root}/images.npy"


def idx(root: Path) -> str:
    for name, shape in (("images-idx3", (12, 28, 28)), ("labels-idx1", (12,))):
        head = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
        values = np.arange(np.prod(shape)) % (3 if len(shape) == 1 else 251)
        (root / f"train-{name}-ubyte.gz").write_bytes(gzip.compress(head + values.astype(np.uint8).tobytes()))
    return f"idx:{root}/train-images-idx3-ubyte.gz"


def mixture(root: Path) -> str:
    return f"mix:0.75*{listed(root)}?channels=1&size=28,0.25*{arrays(root)}"


SETS = {
    "folder": lambda root: f"{folder(root)}?channels=1&size=28",
    "list": lambda root: f"{listed(root)}?channels=1&size=28",
    "npy": arrays,
    "idx": idx,
    "mix": mixture,
    **{kind: lambda folder, write=write: f"{write(folder)}?channels=1&size=28" for kind, write in WRITERS.items()},
    "prepared": lambda folder: f"arrayrecord:{prepared('arrayrecord', folder)}?channels=1&size=28",
    "raw": lambda folder: prepared("raw", folder),
    "subset": subset,
    "tfds": tfds,
}


def train(workdir: Path, source: str, *options: str) -> dict[int, float]:
    assert main(["train", "--workdir", str(workdir), f"--config.data.pretrain={source}", *SHORT, *options]) == 0
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[] if k == "tar" else [pytest.mark.slow]) for k in SETS])
def test_five_steps_and_a_resumed_run(tmp_path, tmp_path_factory, monkeypatch, kind):
    monkeypatch.setenv(kept.WHERE, "off")
    monkeypatch.setenv(
        "SSL_JAX_COMPILE_CACHE", str(tmp_path_factory.getbasetemp() / "compiled")
    )  # compiled once for both
    (tmp_path / "data").mkdir()
    source = SETS[kind](tmp_path / "data")
    straight = train(tmp_path / "run", source)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "5")
    assert train(tmp_path / "run", source) == straight
    assert sorted(straight) == [1, 2, 3, 4, 5]
    assert np.all(np.isfinite(list(straight.values())))


@pytest.mark.slow
def test_formats_give_the_same_losses_with_crops_from_worker_processes(tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv(kept.WHERE, "off")
    monkeypatch.setenv("SSL_JAX_COMPILE_CACHE", str(tmp_path_factory.getbasetemp() / "compiled"))
    found = {}
    for kind in (*WRITERS, "prepared"):
        (tmp_path / kind).mkdir()
        source = SETS[kind](tmp_path / kind)
        for workers in (0, 2):
            options = ("--config.data.crop=host", f"--config.data.workers={workers}")
            found[kind, workers] = train(tmp_path / f"run-{kind}-{workers}", source, *options)
    assert all(losses == found["tar", 0] for losses in found.values())
