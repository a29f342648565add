"""Slow tier: full-size random models that the other libraries wrote are read, run, written, and read back by them."""

import json

import numpy as np
import pytest

from ssl_jax.cli import main
from ssl_jax.interop.importing import exported, imported
from ssl_jax.interop.shapes import built

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["ViT", "Dinov2", "DINOv3ViT"])
def test_what_transformers_saved_is_read_run_and_read_back_by_it(tmp_path, kind):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")()).eval()
    model.save_pretrained(tmp_path)
    found = imported(tmp_path)
    image = np.random.default_rng(0).normal(size=(1, 224, 224, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = model(torch.from_numpy(np.moveaxis(image, -1, 1).copy())).last_hidden_state.numpy()
    np.testing.assert_allclose(built(found.model).apply(found.variables, image), theirs, rtol=1e-3, atol=1e-4)
    state = exported(found.family, found.model, found.variables)
    model.load_state_dict({n: torch.from_numpy(x) for n, x in state.items()}, strict=False)
    with torch.no_grad():
        again = model(torch.from_numpy(np.moveaxis(image, -1, 1).copy())).last_hidden_state.numpy()
    np.testing.assert_array_equal(again, theirs)


@pytest.mark.parametrize("name", ["vit_small_patch16_224", "deit_tiny_patch16_224", "resnet50"])
def test_what_timm_made_is_read_run_and_read_back_by_it(tmp_path, name):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    from safetensors.numpy import save_file

    model = timm.create_model(name, num_classes=0).eval()
    save_file({n: x.numpy() for n, x in model.state_dict().items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name}))
    found = imported(tmp_path)
    image = np.random.default_rng(0).normal(size=(1, 224, 224, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = model(torch.from_numpy(np.moveaxis(image, -1, 1).copy())).numpy()
    ours = built(found.model).apply(found.variables, image, method="features")
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    state = exported(found.family, found.model, found.variables)
    model.load_state_dict({n: torch.from_numpy(x) for n, x in state.items()}, strict=False)


def test_weights_are_evaluated_with_no_training(tmp_path, capsys):
    from safetensors.numpy import save_file

    from ssl_jax.interop import timm_vit
    from ssl_jax.interop.importing import nested
    from ssl_jax.interop.shapes import wanted

    model = {
        "target": "ssl_jax.models.vit:ViT",
        "width": 8,
        "depth": 1,
        "heads": 2,
        "mlp_dim": 8,
        "patch": 7,
        "grid": (4, 4),
    }
    model |= {"positions": "learned", "pool": "class"}
    rng = np.random.default_rng(0)
    arrays = {p: rng.normal(size=s).astype(np.float32) for p, s in wanted(built(model), 3).items()}
    save_file(exported(timm_vit.VIT, model, nested(arrays)), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"num_heads": 2, "img_size": 28}))
    data = ["--data", "embedded:probe", "--probes", "knn", "--config.evaluate.baselines="]
    assert main(["eval", "--encoder", str(tmp_path), "--out", str(tmp_path / "out"), *data]) == 0
    assert "pretrained (student)" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "config.json").read_text())["init_from"]["weights"] == str(tmp_path)
    assert main(["eval", "--encoder", str(tmp_path)]) == 2
    assert "are weights without data: add --data SRC, and --out FOLDER" in capsys.readouterr().err
