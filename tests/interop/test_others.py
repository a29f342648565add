"""Slow tier: random models that timm and transformers made are read, run, written, and read back by them, and so are exports."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.cli import main
from ssl_jax.interop.importing import exported, imported
from ssl_jax.interop.shapes import built

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(1, 224, 224, 3)).astype(np.float32)
# transformers' class without "Model" and "Config", and options that make its model small or still.
PICTURES = {
    "ViT": {},
    "ViTMAE": {"mask_ratio": 0.0},
    "IJepa": {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 384, "num_hidden_layers": 3},
    "Dinov2": {},
    "Dinov2WithRegisters": {"num_hidden_layers": 3},
    "DINOv3ViT": {},
    "CLIPVision": {"num_hidden_layers": 4},
    "SiglipVision": {"num_hidden_layers": 4},
}
SMALL = {
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 160,
    "vocab_size": 300,
}
WORDS = {
    "Bert": SMALL,
    "Roberta": SMALL | {"pad_token_id": 1},
    "GPT2": {"n_embd": 96, "n_layer": 3, "n_head": 4, "vocab_size": 300},
    "Llama": SMALL | {"num_key_value_heads": 2},
    "T5Encoder": {"d_model": 96, "d_ff": 160, "num_layers": 3, "num_heads": 4, "d_kv": 24, "vocab_size": 300},
}


def made_by_transformers(kind, options, folder):
    """Its random model, saved as it saves."""
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    torch.manual_seed(0)
    config = "T5" if kind == "T5Encoder" else kind
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{config}Config")(**options)).eval()
    model.save_pretrained(folder)
    return model


def states(model, *given, **options):
    """`last_hidden_state` as numpy."""
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return model(*given, **options).last_hidden_state.numpy()


def read_back(model, found):
    """The model with what we write of the weights that we read: nothing is missing that the encoder has."""
    torch = pytest.importorskip("torch")
    state = exported(found.family, found.model, found.variables)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    with torch.no_grad():
        for x in model.state_dict().values():
            x.zero_() if x.is_floating_point() else None
    model.load_state_dict({n: torch.from_numpy(np.array(x)) for n, x in state.items()}, strict=False)
    for name, x in model.state_dict().items():
        if name in state:
            assert torch.equal(x, before[name]), name
    return model


@pytest.mark.parametrize("kind", PICTURES)
def test_what_transformers_saved_is_read_run_and_read_back_by_it(tmp_path, kind):
    torch = pytest.importorskip("torch")
    model = made_by_transformers(kind, PICTURES[kind], tmp_path)
    found = imported(tmp_path)
    pixels = torch.from_numpy(np.moveaxis(IMAGE, -1, 1).copy())
    still = {"noise": torch.arange(196)[None].float()} if kind == "ViTMAE" else {}
    theirs = states(model, pixels, **still)
    module = built(found.model)
    ours = jax.jit(module.apply)(found.variables, jnp.asarray(IMAGE))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-4)
    read_back(model, found)


@pytest.mark.parametrize("kind", WORDS)
def test_texts_of_transformers_are_read_run_and_read_back_by_it(tmp_path, kind):
    torch = pytest.importorskip("torch")
    model = made_by_transformers(kind, WORDS[kind], tmp_path)
    found = imported(tmp_path)
    ids = RNG.integers(5, 300, (2, 12))
    theirs = states(model, torch.from_numpy(ids))
    module = built(found.model)
    tokens, ones = jnp.asarray(ids, jnp.int32), jnp.ones(ids.shape, jnp.int32)
    places = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
    ours = jax.jit(module.apply)(found.variables, tokens, ones, places)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-4)
    read_back(model, found)


@pytest.mark.parametrize(
    "name", ["vit_small_patch16_224", "deit_tiny_patch16_224", "vit_tiny_patch16_224", "resnet18", "resnet50"]
)
def test_what_timm_made_is_read_run_and_read_back_by_it(tmp_path, name):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    from safetensors.numpy import save_file

    model = timm.create_model(name, num_classes=0).eval()
    save_file({n: x.numpy() for n, x in model.state_dict().items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name}))
    found = imported(tmp_path)
    with torch.no_grad():
        theirs = model(torch.from_numpy(np.moveaxis(IMAGE, -1, 1).copy())).numpy()
    ours = built(found.model).apply(found.variables, IMAGE, method="features")
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    read_back(model, found)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of MAE, of a few steps."""
    workdir = tmp_path_factory.mktemp("runs") / "mae"
    assert main(["train", "--config", "mae_vit_fashion:tiny", "--workdir", str(workdir)]) == 0
    return workdir


def test_an_export_for_transformers_is_loaded_by_it(run, tmp_path):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    assert main(["export", "--workdir", str(run), "--format", "hf", "--out", str(tmp_path)]) == 0
    model, told = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not [name for name in told["missing_keys"] if "pooler" not in name]
    assert not told["unexpected_keys"]
    found = imported(tmp_path)
    pixels = RNG.normal(size=(2, 28, 28, 1)).astype(np.float32)
    theirs = states(model.eval(), torch.from_numpy(np.moveaxis(pixels, -1, 1).copy()))
    np.testing.assert_allclose(built(found.model).apply(found.variables, pixels), theirs, rtol=1e-4, atol=1e-5)


def test_an_export_for_timm_is_loaded_by_it(run, tmp_path):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    assert main(["export", "--workdir", str(run), "--format", "timm", "--out", str(tmp_path)]) == 0
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    found = imported(tmp_path)
    pixels = RNG.normal(size=(2, 28, 28, 1)).astype(np.float32)
    with torch.no_grad():
        theirs = model(torch.from_numpy(np.moveaxis(pixels, -1, 1).copy())).numpy()
    ours = built(found.model).apply(found.variables, pixels, method="features")
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_weights_are_evaluated_with_no_training(tmp_path, capsys):
    from safetensors.numpy import save_file

    from ssl_jax.interop import timm_vit
    from ssl_jax.interop.importing import nested
    from ssl_jax.interop.shapes import wanted

    model = {"target": "ssl_jax.models.vit:ViT", "width": 8, "depth": 1, "heads": 2, "mlp_dim": 8, "patch": 7}
    model |= {"grid": (4, 4), "positions": "learned", "pool": "class"}
    arrays = {p: RNG.normal(size=s).astype(np.float32) for p, s in wanted(built(model), 3).items()}
    save_file(exported(timm_vit.VIT, model, nested(arrays)), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"num_heads": 2, "img_size": 28}))
    data = ["--data", "embedded:probe", "--probes", "knn", "--config.evaluate.baselines="]
    assert main(["eval", "--encoder", str(tmp_path), "--out", str(tmp_path / "out"), *data]) == 0
    assert "pretrained (student)" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "config.json").read_text())["init_from"]["weights"] == str(tmp_path)
    assert main(["eval", "--encoder", str(tmp_path)]) == 2
    assert "are weights without data: add --data SRC, and --out FOLDER" in capsys.readouterr().err
