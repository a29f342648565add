"""Slow tier: random models that timm and transformers made are read, run, written, and read back by them, and so are exports."""

import json
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from ssl_jax.cli import main
from ssl_jax.export.configs import Inputs
from ssl_jax.export.weights import converted_to
from ssl_jax.interop import timm_vit
from ssl_jax.interop.files import opened
from ssl_jax.interop.heads import heads
from ssl_jax.interop.importing import exported, imported, nested
from ssl_jax.interop.shapes import built, wanted
from ssl_jax.models.htsat import HTSAT as HTSATModule
from ssl_jax.models.resnet import ResNet
from ssl_jax.models.text import TextTransformer
from ssl_jax.models.vit import ViT

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(2, 56, 56, 3)).astype(np.float32)
SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 80}
PICTURE = SIZES | {"image_size": 56, "patch_size": 8}
WORDS = SIZES | {"vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2}
SHORT = WORDS | {"max_position_embeddings": 12}
SMALL = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
DECODED = {f"decoder_{name}": size for name, size in SMALL.items()}
RELATIVE = PICTURE | {"use_shared_relative_position_bias": True, "use_mask_token": True}
GPT = {"n_embd": 48, "n_layer": 2, "n_head": 4, "vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2}
T5 = {"d_model": 48, "d_ff": 80, "num_layers": 2, "num_heads": 4, "d_kv": 12, "vocab_size": 60}
BART = {"vocab_size": 60, "d_model": 48, "max_position_embeddings": 20, "encoder_layers": 2, "decoder_layers": 2}
BART |= {f"{side}_{key}": n for side in ("encoder", "decoder") for key, n in (("attention_heads", 4), ("ffn_dim", 80))}
SPEECH = WORDS | {"conv_dim": (16, 16), "conv_kernel": (10, 3), "conv_stride": (5, 2), "num_feat_extract_layers": 2}
SPEECH |= {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4}
LARGE = SPEECH | {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
VJEPA = PICTURE | {"num_attention_heads": 2, "crop_size": 56, "frames_per_clip": 4, "mlp_ratio": 2}
VJEPA |= {"pred_hidden_size": 48, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
AST = SIZES | {"patch_size": 8, "frequency_stride": 6, "time_stride": 4, "max_length": 40, "num_mel_bins": 16}
HTSAT = {"spec_size": 64, "num_mel_bins": 16, "patch_size": 4, "patch_stride": [4, 4], "window_size": 4}
HTSAT |= {"depths": [2, 2], "num_attention_heads": [2, 4], "patch_embeds_hidden_size": 16, "hidden_size": 32}
SERIES = {"context_length": 40, "patch_length": 8, "patch_stride": 8, "d_model": 48, "num_hidden_layers": 2}
SERIES |= {"num_attention_heads": 4, "ffn_dim": 80, "num_input_channels": 3}


def states(model, **given):
    """What most models end in."""
    return model(**given).last_hidden_state


def pooled(model, **given):
    """One row for each input."""
    return model(**given).pooler_output


def of(part, read=states, **more):
    """The same of a part of a model that has heads, decoders or another tower beside it."""
    return lambda model, **given: read(getattr(model, part), **given, **more)


def normed(model, **given):
    """CLIP's tokens behind the norm that transformers applies to the first one alone."""
    return model.post_layernorm(states(model, **given))


def in_order(model, **given):
    """MAE's tokens: without noise it would shuffle them."""
    return states(model, noise=torch_of(np.broadcast_to(np.arange(49.0, dtype=np.float32), (2, 49))), **given)


class Case(NamedTuple):
    """What it sees, options of its configuration, its output that ours is compared with, our method, our kind of module."""

    sees: str
    options: dict
    theirs: Callable = states
    method: str | None = None
    kind: type | None = None


TOWERS = {"text_config": SHORT, "vision_config": PICTURE}
SOUNDS = {"text_config": WORDS | {"max_position_embeddings": 20, "pad_token_id": 1}, "audio_config": HTSAT}
# Classes of transformers; behind a colon, a second case of the same.
CASES = {
    "ViTModel": Case("image", PICTURE),
    "ViTForMaskedImageModeling": Case("image", PICTURE | {"encoder_stride": 8}, of("vit")),
    "ViTMSNModel": Case("image", PICTURE),
    "ViTMAEForPreTraining": Case("image", PICTURE | DECODED | {"mask_ratio": 0.0}, of("vit", in_order)),
    "IJepaModel": Case("image", PICTURE),
    "Dinov2Model": Case("image", PICTURE),
    "Dinov2WithRegistersModel": Case("image", PICTURE | {"use_swiglu_ffn": True}),
    "DINOv3ViTModel": Case("image", PICTURE),
    "DINOv3ViTModel:7B": Case("image", PICTURE | {"num_register_tokens": 4, "use_gated_mlp": True, "hidden_act": "silu"}),
    "BeitModel": Case("image", RELATIVE),
    "BeitForMaskedImageModeling": Case("image", RELATIVE, lambda m, **g: m.layernorm(states(m.beit, **g))),
    "Data2VecVisionModel": Case("image", RELATIVE),
    "CLIPVisionModel": Case("image", PICTURE, normed),
    "CLIPVisionModelWithProjection": Case("image", PICTURE, of("vision_model", pooled), "features"),
    "CLIPTextModel": Case("text", SHORT),
    "CLIPModel": Case("image", TOWERS, of("vision_model", pooled), "features", ViT),
    "CLIPModel:text": Case("text", TOWERS, of("text_model"), None, TextTransformer),
    "SiglipVisionModel": Case("image", PICTURE),
    "SiglipTextModel": Case("text", SHORT),
    "SiglipModel": Case("image", TOWERS, of("vision_model", pooled), "features", ViT),
    "SiglipModel:text": Case("text", TOWERS, of("text_model"), None, TextTransformer),
    "VideoMAEModel": Case("clip", PICTURE | {"num_frames": 4}),
    "VideoMAEForPreTraining": Case(
        "clip", PICTURE | DECODED | {"num_frames": 4, "use_mean_pooling": False},
        lambda m, **g: states(m.videomae, **g),
    ),
    "VJEPA2Model": Case("video", VJEPA, lambda m, **g: states(m, skip_predictor=True, **g)),
    "BertForMaskedLM": Case("text", WORDS, of("bert")),
    "RobertaModel": Case("text", WORDS | {"pad_token_id": 1}),
    "GPT2LMHeadModel": Case("text", GPT, of("transformer")),
    "ImageGPTModel": Case("text", GPT | {"n_positions": 12}),
    "LlamaForCausalLM": Case("text", WORDS | {"num_key_value_heads": 2}, of("model")),
    "T5Model": Case("pair", T5),
    "T5Model:1.1": Case("pair", T5 | {"feed_forward_proj": "gated-gelu"}),
    "T5EncoderModel": Case("text", T5),
    "BartForConditionalGeneration": Case("pair", BART, of("model")),
    "Wav2Vec2ForPreTraining": Case("wave", SPEECH, of("wav2vec2")),
    "Wav2Vec2Model": Case("wave", LARGE),
    "HubertModel": Case("wave", SPEECH),
    "ASTModel": Case("sound", AST),
    "ASTModel:features": Case("sound", AST, pooled, "features"),
    "ClapAudioModel": Case("mel", HTSAT, pooled, "features"),
    "ClapModel": Case("mel", SOUNDS, of("audio_model", pooled), "features", HTSATModule),
    "ClapModel:text": Case("text", SOUNDS, of("text_model"), None, TextTransformer),
    "PatchTSTModel": Case("series", SERIES),
    "PatchTSTModel:layer": Case("series", SERIES | {"norm_type": "layernorm", "pre_norm": False}),
}  # fmt: skip


def torch_of(x):
    """The same numbers there."""
    return pytest.importorskip("torch").from_numpy(np.ascontiguousarray(x))


def text_of(ids):
    """Our arrays of a text without padding."""
    places = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
    return jnp.asarray(ids, jnp.int32), jnp.ones(ids.shape, jnp.int32), places


def inputs(sees):
    """The same random input for their model and for ours."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    if sees in ("text", "pair"):
        ids, written = rng.integers(5, 60, (2, 2, 12))
        if sees == "text":
            return {"input_ids": torch_of(ids)}, text_of(ids)
        return {"input_ids": torch_of(ids), "decoder_input_ids": torch_of(written)}, (text_of(ids), text_of(written))
    if sees == "image":
        return {"pixel_values": torch_of(np.moveaxis(IMAGE, -1, 1))}, (IMAGE,)
    if sees in ("clip", "video"):
        clip = draw(2, 4, 56, 56, 3)
        return {"pixel_values" + "_videos" * (sees == "video"): torch_of(np.moveaxis(clip, -1, 2))}, (clip,)
    name, x = {
        "wave": ("input_values", draw(2, 800)), "sound": ("input_values", draw(2, 40, 16)),
        "mel": ("input_features", draw(2, 1, 256, 16)), "series": ("past_values", draw(2, 40, 3)),
    }[sees]  # fmt: skip
    ours = {"sound": (x[..., None],), "mel": (np.moveaxis(x, 1, -1),)} if x.ndim > 2 else {}
    return {name: torch_of(x)}, ours.get(sees, (x, np.ones(x.shape, bool)))


def stirred(model):
    """The model with every parameter and statistic moved: most libraries start biases at 0, scales at 1, tables at 0."""
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        for x in model.parameters():
            x += 0.1 * torch.randn_like(x) * x.requires_grad
        for name, x in model.named_buffers():
            if "running_" in name:
                x += torch.rand_like(x) / 2
    return model.eval()


def made_by_transformers(kind, options, folder):
    """Its random model, saved as it saves."""
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    torch.manual_seed(0)
    made = getattr(transformers, kind)
    model = stirred(made(made.config_class(**options)))
    model.save_pretrained(folder)
    return model


def read_back(folder, found):
    """What we write of the weights that we read is what the file has, to the bit; rows of tables that nobody reads are zeros."""
    theirs = {found.family.renamed(name): x for name, x in opened(folder).tensors.items()}
    written = exported(found.family, found.model, found.variables)
    ours = {found.prefix + name.removeprefix(found.family.prefix): x for name, x in written.items()}
    shared = ours.keys() & theirs.keys()
    assert len(shared) > len(ours) / 2
    for name in shared:
        x = (
            ours[name][:, 1:] if ours[name].size > theirs[name].size else ours[name]
        )  # timm's registers: no row for the class
        x = x.reshape(theirs[name].shape)
        assert np.all((x == theirs[name]) | (x == 0)), name


@pytest.mark.parametrize("kind", CASES)
def test_what_transformers_saved_is_read_run_and_written_again(tmp_path, kind):
    torch, case = pytest.importorskip("torch"), CASES[kind]
    model = made_by_transformers(kind.partition(":")[0], case.options, tmp_path)
    given, ours = inputs(case.sees)
    with torch.no_grad():
        theirs = case.theirs(model, **given).numpy()
    found = imported(tmp_path, kind=case.kind)
    assert not found.left_over
    same = jax.jit(partial(built(found.model).apply, method=case.method))(found.variables, *ours)
    np.testing.assert_allclose(same, theirs, rtol=1e-4, atol=2e-5)
    read_back(tmp_path, found)


SQUARE = {"depth": 2, "img_size": 56, "patch_size": 14}
OWN = {
    "MAE": "",
    "DINO, iBOT": "teacher.backbone.",
    "MoCo v3": "module.base_encoder.",
    "I-JEPA": "target_encoder.module.",
}
TIMM = [("resnet18", {}, ""), ("resnet34", {}, ""), ("resnet50", {}, ""), ("deit_tiny_patch16_224", SQUARE, "")]
TIMM += [(f"vit_small_patch14_{name}dinov2", SQUARE, "") for name in ("", "reg4_")]
TIMM += [("vit_tiny_patch16_224", SQUARE, prefix) for prefix in OWN.values()]


@pytest.mark.parametrize(("name", "options", "prefix"), TIMM)
def test_what_timm_made_is_read_run_and_written_again_and_below_the_prefixes_of_others(tmp_path, name, options, prefix):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    torch.manual_seed(0)
    model = stirred(timm.create_model(name, num_classes=0, **options))
    state = {prefix + n: x.numpy() for n, x in model.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name}))
    found = imported(tmp_path)
    with torch.no_grad():
        theirs = model(torch.from_numpy(np.moveaxis(IMAGE, -1, 1).copy())).numpy()
    ours = built(found.model).apply(found.variables, IMAGE, method="features")
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    read_back(tmp_path, found)


TALL = {"image_size": 56, "layers": 2, "width": 48, "patch_size": 8, "head_width": 12}
SAID = {"context_length": 12, "vocab_size": 60, "width": 48, "heads": 4, "layers": 2}
OPEN_CLIP = {
    "GELU": {},
    "OpenAI": {"quick_gelu": True},
    "SigLIP's texts": {"text_cfg": SAID | {"no_causal_mask": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}}},
}


@pytest.mark.parametrize("kind", OPEN_CLIP)
def test_what_open_clip_made_is_read_run_and_written_again_with_its_heads(tmp_path, kind):
    open_clip, torch = pytest.importorskip("open_clip"), pytest.importorskip("torch")
    options = {"embed_dim": 32, "vision_cfg": TALL, "text_cfg": SAID} | OPEN_CLIP[kind]
    torch.manual_seed(0)
    model = stirred(open_clip.CLIP(**options))
    save_file({n: x.numpy() for n, x in model.state_dict().items()}, tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": options}))
    given, _ = inputs("text")
    with torch.no_grad():
        picture = model.encode_image(torch_of(np.moveaxis(IMAGE, -1, 1))).numpy()
        ids = given["input_ids"]
        ids[:, -1] = 59  # open_clip's texts end where their largest token is
        words = model.encode_text(ids).numpy()
    head = heads(opened(tmp_path))
    for kind_of, see, theirs, name in (
        (ViT, (IMAGE,), picture, "image"),
        (TextTransformer, text_of(ids.numpy()), words, "text"),
    ):
        found = imported(tmp_path, kind=kind_of)
        seen = built(found.model).apply(found.variables, *see, method="features")
        np.testing.assert_allclose(seen @ head[f"{name}_head/dense_out/kernel"], theirs, rtol=1e-4, atol=2e-5)
        read_back(tmp_path, found)


RUNS = {
    "ViT": ("mae_vit_fashion:tiny", "hf"),
    "ViT of timm": ("mae_vit_fashion:tiny", "timm"),
    "DINOv2": ("dinov2_vit_fashion:tiny", "hf"),
    "DINOv3": ("dinov3_vit_fashion:tiny", "hf"),
    "BERT": ("mlm_bertbase_corpus:tiny", "hf"),
    "GPT-2": ("causal_gpt_wordnet:tiny", "hf"),
    "Llama": ("causal_llama1b_corpus:tiny", "hf"),
}


@pytest.mark.parametrize("kind", RUNS)
def test_an_export_of_a_run_is_loaded_by_the_library(tmp_path, kind):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    recipe, form = RUNS[kind]
    run, out = str(tmp_path / "run"), tmp_path / "out"
    assert main(["train", "--config", recipe, "--workdir", run]) == 0
    assert main(["export", "--workdir", run, "--format", form, "--out", str(out)]) == 0
    found = imported(out)
    if "vocabulary" in found.model:
        ids = RNG.integers(5, 60, (2, 12))
        given, ours = {"input_ids": torch_of(ids)}, text_of(ids)
    else:
        pixels = RNG.normal(size=(2, 28, 28, 1)).astype(np.float32)
        given, ours = {"pixel_values": torch_of(np.moveaxis(pixels, -1, 1))}, (pixels,)
    with torch.no_grad():
        if form == "timm":
            model = pytest.importorskip("timm").create_model(f"local-dir:{out}", pretrained=True).eval()
            theirs = model.forward_features(*given.values()).numpy()
        else:
            model, told = transformers.AutoModel.from_pretrained(out, output_loading_info=True)
            assert not [name for name in told["missing_keys"] if "pooler" not in name]
            assert not told["unexpected_keys"]
            theirs = states(model.eval(), **given).numpy()
    np.testing.assert_allclose(built(found.model).apply(found.variables, *ours), theirs, rtol=1e-4, atol=1e-5)


def test_a_resnet_that_is_exported_for_timm_is_loaded_by_it(tmp_path):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    module, rng = ResNet(18), np.random.default_rng(0)
    draw = {path: rng.uniform(0.1, 0.3, shape).astype(np.float32) for path, shape in wanted(module, 3).items()}
    made = converted_to(
        "timm", module, nested({p: x / 4 if "kernel" in p else x for p, x in draw.items()}), Inputs((56, 56), 3)
    )
    save_file(made.tensors, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(made.config))
    found = imported(tmp_path)
    with torch.no_grad():
        model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
        theirs = model(torch_of(np.moveaxis(IMAGE, -1, 1))).numpy()
    ours = built(found.model).apply(found.variables, IMAGE, method="features")
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_weights_are_evaluated_with_no_training(tmp_path, capsys):
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
