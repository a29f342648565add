"""Weight files that are wrong, cut, renamed or hostile are refused with cause and remedy; nothing they hold is run."""

import json
import os
import pickle
import struct
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from ssl_jax.cli import main
from ssl_jax.errors import UserError
from ssl_jax.interop import hub, pickled
from ssl_jax.interop.files import INDEX, LARGEST_HEADER, is_weights, opened
from ssl_jax.interop.importing import exported, imported, nested
from ssl_jax.interop.shapes import built, wanted
from ssl_jax.interop.timm_vit import VIT

MODEL = {
    "target": "ssl_jax.models.vit:ViT",
    "width": 8,
    "depth": 1,
    "heads": 2,
    "mlp_dim": 8,
    "patch": 2,
    "grid": (2, 2),
}
MODEL |= {"positions": "learned", "pool": "class"}
CONFIG = {"num_heads": 2, "model_type": "", "architecture": "vit_of_a_test"}


@pytest.fixture(scope="module")
def tensors():
    shapes = wanted(built(MODEL), 3)
    return exported(VIT, MODEL, nested({p: np.ones(s, np.float32) for p, s in shapes.items()}))


@pytest.fixture
def folder(tmp_path, tensors):
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def header(text, announced=None):
    raw = text if isinstance(text, bytes) else json.dumps(text).encode()
    return struct.pack("<Q", len(raw) if announced is None else announced) + raw


HUGE = {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
OVERFLOW = {"a": {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 4]}}
OVERLAP = {n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it has 0 bytes"),
        (b"PK\x03\x04 a zip that was renamed", "its header should have"),
        (header({}, 1 << 60), "its header should have 1152921504606846976"),
        (header(b" " * (LARGEST_HEADER + 1)), "more than the"),
        (header(b"{" * 100), "no safetensors file"),
        (header(HUGE) + b"0000", "no safetensors file"),
        (header(OVERFLOW) + b"0000", "no safetensors file"),
        (header(OVERLAP) + b"0000", "no safetensors file"),
        (header({"a": {"dtype": "OBJECT", "shape": [1], "data_offsets": [0, 4]}}) + b"0000", "no safetensors file"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path, content, said):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        imported(path)
    assert "fetch it again" in str(error.value)


def test_a_file_that_was_cut_is_refused_by_every_command_with_exit_code_2(folder, capsys):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-64])
    assert main(["inspect", str(folder)]) == 2
    assert "no safetensors file that can be read" in capsys.readouterr().err
    assert main(["eval", "--encoder", str(folder), "--data", "embedded", "--out", str(folder / "out")]) == 2


def cut_layer(tensors):
    return {n: x for n, x in tensors.items() if "mlp.fc2" not in n}


def wrong_size(tensors):
    return tensors | {"blocks.0.norm1.bias": np.ones(9, np.float32)}


def no_divisor(tensors):
    return tensors | {"blocks.0.attn.qkv.weight": np.ones((23, 8), np.float32)}


def of_nothing(tensors):
    return tensors | {"patch_embed.proj.weight": np.ones((8, 3, 0, 0), np.float32)}


def unknown(tensors):
    return {f"odd_{n.replace('.', '_')}": x for n, x in tensors.items()}


@pytest.mark.parametrize(
    ("change", "config", "said"),
    [
        (cut_layer, CONFIG, "make no model of the family|tensors are missing"),
        (wrong_size, CONFIG, r"norm1/bias: \[1, 9\], not \[1, 8\]"),
        (no_divisor, CONFIG, "qkv.weight .* make no"),
        (of_nothing, CONFIG, "make no model of the family|patch"),
        (unknown, CONFIG, "no family that is known here: .*timm_vit"),
        (dict, CONFIG | {"num_heads": 3}, "number of heads is not known: 3 for width 8"),
        (dict, CONFIG | {"num_heads": "many"}, "number of heads is not known: 'many'"),
        (dict, [1], "no JSON object"),
    ],
)
def test_tensors_that_are_no_whole_model_are_refused(tmp_path, tensors, change, config, said):
    save_file({n: np.ascontiguousarray(x) for n, x in change(tensors).items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=said):
        imported(tmp_path)


def shards(path, tensors):
    first = dict(list(tensors.items())[:4])
    save_file(first, path / "a.safetensors")
    save_file({n: x for n, x in tensors.items() if n not in first}, path / "b.safetensors")
    (path / "config.json").write_text(json.dumps(CONFIG))
    return {n: f"{'a' if n in first else 'b'}.safetensors" for n in tensors}


def test_shards_are_read_by_their_index(tmp_path, tensors):
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": shards(tmp_path, tensors)}))
    assert imported(tmp_path).model["width"] == 8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cls_token": "../a.safetensors"}, "no safetensors file of this folder"),
        ({"cls_token": "/etc/passwd"}, "no safetensors file of this folder"),
        ({"cls_token": "c.safetensors"}, "cannot be read|can be read: No such file"),
        ({"cls_token": "b.safetensors"}, "lacks 1 tensors of the index, as cls_token"),
        ({"cls_token": 3}, "no weight_map"),
    ],
)
def test_an_index_that_does_not_tell_the_truth_is_refused(tmp_path, tensors, change, said):
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": shards(tmp_path, tensors) | change}))
    with pytest.raises(UserError, match=said):
        imported(tmp_path)


def test_folders_without_one_weight_file_and_runs_are_told_apart(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        imported(tmp_path / "empty")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(UserError, match=r"init_from\.workdir="):
        imported(tmp_path / "run")
    assert is_weights(str(folder))
    assert not is_weights(str(tmp_path / "run"))
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(UserError, match="FIFO"):
        imported(tmp_path / "pipe.safetensors")


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("bomb",)


def test_pickled_weights_are_never_unpickled_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pth").write_bytes(pickle.dumps(Bomb()))
    monkeypatch.setattr(pickled, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="torch is not installed"):
        imported("weights.pth")
    assert not (tmp_path / "bomb").exists()


TORCH = """
import numpy
def is_tensor(x): return hasattr(x, "numpy")
class Tensor:
    def __init__(self, x): self.x = x
    detach = float = contiguous = lambda self: self
    def numpy(self): return self.x
def load(path, map_location, weights_only):
    assert weights_only is True and map_location == "cpu"
    if "hostile" in path: raise RuntimeError("Weights only load failed")
    return {"teacher": {"backbone.a": Tensor(numpy.ones(3, "float32"))}, "epoch": 3}
"""


def test_pickled_weights_are_read_by_torch_in_a_process_of_its_own(tmp_path, monkeypatch):
    """A stand-in for torch: what is asked of it, and what comes back."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "torch.py").write_text(TORCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.setattr(pickled, "find_spec", lambda name: True)
    for name in ("w.pth", "hostile.pth"):
        (tmp_path / name).write_bytes(b"any")
    assert {n: x.tolist() for n, x in opened(tmp_path / "w.pth").tensors.items()} == {"teacher.backbone.a": [1, 1, 1]}
    with pytest.raises(
        UserError, match=r"refused by torch's reader of weights: RuntimeError: Weights only load failed"
    ):
        opened(tmp_path / "hostile.pth")


def test_a_repository_is_found_in_the_local_cache_and_nothing_is_fetched(tmp_path, tensors, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    root = tmp_path / "models--org--name"
    (root / "snapshots" / "abc").mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("abc\n")
    save_file(tensors, root / "snapshots" / "abc" / "model.safetensors")
    (root / "snapshots" / "abc" / "config.json").write_text(json.dumps(CONFIG))
    assert imported("org/name").model["width"] == 8
    assert is_weights("org/name")
    with pytest.raises(UserError, match="add --download"):
        imported("org/other")
    (root / "refs" / "main").write_text("../../elsewhere")
    assert hub.snapshot("org/name") == root / "snapshots" / "abc"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as where it is not installed
    with pytest.raises(UserError, match=r"pip install ssl_jax\[hub\]"):
        imported("org/other", download=True)
    asked = []
    fetch = lambda name, allow_patterns: asked.append((name, allow_patterns)) or root / "snapshots" / "abc"  # noqa: E731
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=fetch))
    assert imported("org/other", download=True).model["width"] == 8
    assert asked == [("org/other", ["*.safetensors", "*.json"])]
