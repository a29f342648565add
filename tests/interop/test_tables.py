"""Tables of names: what is written and read again is the same to the bit, for every family; and what does not fit is told."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from ssl_jax.errors import UserError
from ssl_jax.interop.families import FAMILIES
from ssl_jax.interop.files import Weights
from ssl_jax.interop.fitting import Grids, fitted, other_channels, refuse_partial
from ssl_jax.interop.importing import converted, exported, flat, imported, nested
from ssl_jax.interop.shapes import built, wanted
from ssl_jax.interop.told import told
from ssl_jax.models.grid import resize_tokens
from ssl_jax.models.text import TextTransformer
from ssl_jax.models.vit import INTERPOLATION_OFFSET

VIT = {"target": "ssl_jax.models.vit:ViT", "width": 16, "depth": 2, "heads": 2, "mlp_dim": 24, "patch": 4}
CLIP = VIT | {"patch": (2, 4, 4), "class_token": False}
LEARNED = VIT | {"positions": "learned", "pool": "class", "grid": (2, 2)}
TEXT = {
    "target": "ssl_jax.models.text:TextTransformer",
    "vocabulary": 9,
    "width": 16,
    "depth": 2,
    "heads": 2,
    "mlp_dim": 24,
}
BERT = TEXT | {"length": 7, "types": 2, "embedding_norm": True, "order": "post", "norm_epsilon": 1e-12, "pool": "class"}
LLAMA = TEXT | {"positions": "rope", "norm": "rms", "bias": False, "mlp": "swiglu", "causal": True, "pool": "last"}
LLAMA |= {"length": 2048, "norm_epsilon": 1e-6}
HALF = TEXT | {"positions": "relative", "norm": "rms", "bias": False, "mlp": "geglu_tanh", "attention_scale": 1.0}
HALF |= {"norm_epsilon": 1e-6}
BART = TEXT | {"length": 7, "embedding_norm": True, "order": "post"}
WAVE = "ssl_jax.models.wave:"
FRONT = {
    "target": f"{WAVE}WaveConv",
    "widths": (4, 6),
    "kernels": (5, 3),
    "strides": (5, 2),
    "norm": "time",
    "bias": False,
}
FRONT |= {"activation": "gelu"}
FRAMES = {
    "target": f"{WAVE}FrameTransformer",
    "width": 16,
    "depth": 2,
    "heads": 2,
    "mlp_dim": 24,
    "kernel": 4,
    "groups": 2,
}
SPEECH = {"target": f"{WAVE}SequenceEncoder", "front": FRONT, "context": FRAMES | {"order": "post"}}
LARGE = SPEECH | {"front": FRONT | {"norm": "layer", "bias": True}, "context": FRAMES | {"order": "pre"}}
PATCHTST = {
    "target": "ssl_jax.models.patch_tst:PatchTransformer", "width": 16, "depth": 2, "heads": 2, "mlp_dim": 24, "patch": 4,
    "stride": 2, "length": 13, "order": "pre", "dropout": 0.0,
}  # fmt: skip
RELATIVE = VIT | {"positions": "relative", "grid": (3, 3), "layer_scale": 0.1, "qkv_bias": "query_value"}
PIXELS = TEXT | {"target": "ssl_jax.models.pixels:PixelTransformer", "channels": 3, "length": 4, "causal": True}
PIXELS |= {"norm": "rms", "mlp": "quick_gelu", "bias": False}
SPECTRA = {
    "target": "ssl_jax.models.ast:AST",
    "width": 16,
    "depth": 2,
    "heads": 2,
    "mlp_dim": 24,
    "patch": 4,
    "bands": 10,
}
SPECTRA |= {"strides": (3, 2), "frames": 9}
HTSAT = {"target": "ssl_jax.models.htsat:HTSAT", "width": 8, "depths": (1, 2), "heads": (2, 2), "window": 2, "patch": 4}
HTSAT |= {"size": 16, "bands": 8, "mlp_ratio": 2.0}
HEADS = {
    "num_attention_heads": 2,
    "num_heads": 2,
    "n_head": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
}


def both(half):
    return {"target": "ssl_jax.models.text:EncoderDecoder", "encoder": half, "decoder": half | {"causal": True}}


V3 = {"qkv_bias": "query_value", "pool": "class", "norm_epsilon": 1e-5}
INDICES = {"rope_places": "indices", "rope_tiled": True, "rope_base": 1e4}
OPENAI = {"model_cfg": {"quick_gelu": True, "vision_cfg": {"head_width": 8, "image_size": 8}}}
OPEN_SIGLIP = {"heads": 2, "no_causal_mask": True, "norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"}}
OPEN_SIGLIP = {"model_cfg": {"text_cfg": OPEN_SIGLIP}}
# Family, our section, what config.json has to say beside the heads.
CASES = [
    ("timm_vit", LEARNED, {}),
    ("timm_vit", LEARNED | {"mlp": "swiglu", "registers": 3, "layer_scale": 1e-5}, {}),
    ("timm_vit", VIT | {"class_token": False, "grid": (2, 2)}, {}),
    ("hf_vit", VIT | {"grid": (2, 3), "norm_epsilon": 1e-12}, {"image_size": [8, 12], "model_type": "vit_mae"}),
    ("hf_vit", LEARNED | {"qkv_bias": "none", "mlp": "gelu_tanh"}, {"layer_norm_eps": 1e-6, "hidden_act": "gelu_new"}),
    ("dinov2", LEARNED | {"layer_scale": 1.0, "mlp": "swiglu"}, {}),
    ("dinov2", LEARNED | {"layer_scale": 0.5, "registers": 2}, {"layerscale_value": 0.5}),
    ("dinov3", VIT | {"positions": "rope", "registers": 2, "layer_scale": 1.0, "mlp": "swiglu"} | V3, {}),
    ("dinov3", VIT | {"positions": "rope", "layer_scale": 1.0} | V3, {}),
    ("videomae", CLIP | {"positions": "sequence", "qkv_bias": "query_value", "final_norm": False}, {"layer_norm_eps": 1e-6}),
    ("data2vec_vision", RELATIVE | {"final_norm": False, "norm_epsilon": 1e-12}, {}),
    ("beit", RELATIVE | {"norm_epsilon": 1e-12}, {"layer_norm_eps": 1e-12}),
    ("simmim", RELATIVE, {}),
    ("siglip", LEARNED | {"class_token": False, "pool": "mean", "mlp": "gelu_tanh"}, {}),
    ("siglip", LEARNED | {"class_token": False, "pool": "map", "mlp": "gelu_tanh"}, {}),
    ("siglip_text", TEXT | {"length": 7, "mlp": "gelu_tanh", "pool": "last", "norm_epsilon": 1e-6}, {"model_type": "siglip"}),
    ("clip_text", TEXT | {"length": 7, "causal": True, "mlp": "quick_gelu", "pool": "last", "norm_epsilon": 1e-5}, {}),
    ("open_clip", LEARNED | {"mlp": "quick_gelu", "embedding_norm": True, "norm_epsilon": 1e-5}, OPENAI),
    ("open_clip_text", TEXT | {"length": 7, "mlp": "gelu_tanh", "pool": "last", "norm_epsilon": 1e-6}, OPEN_SIGLIP),
    ("clap", HTSAT, {"num_attention_heads": [2, 2], "spec_size": 16, "model_type": "clap"}),
    ("clip", LEARNED | {"mlp": "quick_gelu", "embedding_norm": True, "norm_epsilon": 1e-5}, {}),
    ("videomae", CLIP | {"positions": "sequence", "qkv_bias": "query_value"}, {"layer_norm_eps": 1e-6}),
    ("vjepa2", CLIP | {"width": 24, "positions": "rope"} | INDICES, {}),
    ("resnet", {"target": "ssl_jax.models.resnet:ResNet", "depth": 18, "width": 4}, {}),
    pytest.param(
        "resnet", {"target": "ssl_jax.models.resnet:ResNet", "depth": 50, "width": 4, "stem": "small"}, {},
        marks=pytest.mark.slow,
    ),
    ("bert", BERT, {}),
    ("roberta", BERT | {"types": 1}, {"model_type": "roberta"}),
    ("gpt2", TEXT | {"length": 7, "causal": True, "mlp": "gelu_tanh", "pool": "last"}, {}),
    ("igpt", TEXT | {"length": 4, "causal": True, "norm": "rms", "mlp": "quick_gelu"}, {}),
    ("igpt", PIXELS, {}),
    ("llama", LLAMA, {}),
    ("llama", LLAMA | {"kv_heads": 1, "head_width": 4}, {"num_key_value_heads": 1}),
    ("t5", both(HALF), {}),
    ("t5", both(HALF | {"mlp": "relu", "head_width": 6}), {"feed_forward_proj": "relu"}),
    ("t5_encoder", HALF, {}),
    ("bart", both(BART), {}),
    ("patchtst", PATCHTST, {"patch_stride": 2, "context_length": 13}),
    ("patchtst", PATCHTST | {"norm": "layer", "order": "post"}, {"patch_stride": 2, "context_length": 13, "pre_norm": False}),
    ("wav2vec2", SPEECH, {"conv_stride": [5, 2]}),
    ("ast", SPECTRA, {"frequency_stride": 3, "time_stride": 2, "num_mel_bins": 10, "max_length": 9}),
    ("wav2vec2", LARGE, {"conv_stride": [5, 2], "do_stable_layer_norm": True, "model_type": "hubert"}),
]  # fmt: skip
BY_NAME = {family.name: family for family in FAMILIES}


def drawn(model, seed=0):
    """Random variables of a `model` section."""
    rng, module = np.random.default_rng(seed), built(model)
    arrays = {path: rng.normal(size=s).astype(np.float32) for path, s in wanted(module, 3).items()}
    if model.get("embedding_norm") and "patch" in model:  # CLIP has no bias there
        arrays["patch_embed/bias"][:] = 0
    return nested(arrays)


@pytest.mark.parametrize(("name", "model", "config"), CASES, ids=range(len(CASES)))
def test_what_is_written_and_read_again_is_the_same_to_the_bit(name, model, config):
    family, variables = BY_NAME[name], drawn(model)
    tensors = exported(family, model, variables)
    found = converted(Weights(tensors, HEADS | config, "a file"))
    assert (found.family.name, found.left_over, found.beside) == (name, (), ())
    ours, again = flat(variables), flat(found.variables)
    assert ours.keys() == again.keys()
    for path, x in ours.items():
        np.testing.assert_array_equal(again[path], x, path)
    assert built(found.model) == built(model)


@pytest.mark.parametrize(
    ("name", "model", "config", "said"),
    [
        ("roberta", BERT | {"types": 1}, {"model_type": "roberta", "pad_token_id": 0}, r"pad_token_id=0 .* only files with 1"),
        ("open_clip", LEARNED | {"embedding_norm": True}, {}, r"says vision_cfg.*put an open_clip_config.json there"),
    ],
)  # fmt: skip
def test_what_would_be_read_wrongly_is_refused(name, model, config, said):
    tensors = exported(BY_NAME[name], model, drawn(model))
    with pytest.raises(UserError, match=said):
        converted(Weights(tensors, HEADS | config, "a file"))


def test_every_family_is_in_the_cases():
    others = set(BY_NAME) - {"ssl_jax"}  # our own names are tried in tests/export
    assert {getattr(case, "values", case)[0] for case in CASES} == others


def test_of_several_copies_the_teacher_is_read_and_heads_stay_beside(tmp_path):
    family, student, teacher = BY_NAME["timm_vit"], drawn(LEARNED), drawn(LEARNED, 1)
    tensors = {f"student.module.backbone.{n}": x for n, x in exported(family, LEARNED, student).items()}
    tensors |= {f"teacher.backbone.{n}": x for n, x in exported(family, LEARNED, teacher).items()}
    save_file(tensors | {"teacher.head.last.weight": np.zeros((2, 2), np.float32)}, tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"num_heads": 2, "pretrained_cfg": {"mean": [0.5] * 3}}))
    found = imported(tmp_path / "weights.safetensors")
    assert found.prefix == "teacher.backbone."
    assert len(found.beside) == 1 + len(tensors) // 2
    np.testing.assert_array_equal(found.variables["params"]["class_token"], teacher["params"]["class_token"])
    assert found.pixels["mean"] == (0.5, 0.5, 0.5)
    assert found.pixels["std"] == (0.229, 0.224, 0.225)
    said = told(found)
    assert "positions='learned'" in said
    assert "beside it, not read:" in said


def test_a_table_of_positions_without_a_row_for_the_class_token_leaves_it_none():
    model = LEARNED | {"registers": 2}
    tensors = exported(BY_NAME["timm_vit"], model, drawn(model))
    bare = tensors | {"pos_embed": tensors["pos_embed"][:, 1:]}
    params = converted(Weights(bare, HEADS, "a file")).variables["params"]
    assert not params["class_position"].any()
    np.testing.assert_array_equal(params["positions"], bare["pos_embed"][0])


def test_the_encoder_of_a_file_with_a_decoder_is_read_where_an_encoder_is_asked_for():
    whole, variables = both(HALF), drawn(both(HALF))
    found = converted(Weights(exported(BY_NAME["t5"], whole, variables), HEADS, "a file"), TextTransformer)
    assert (found.family.name, found.left_over) == ("t5_encoder", ())
    jax.tree.map(np.testing.assert_array_equal, found.variables["params"], variables["params"]["encoder"])


def test_half_precision_is_read_as_float32(tmp_path):
    import ml_dtypes

    tensors = exported(BY_NAME["timm_vit"], LEARNED, drawn(LEARNED))
    save_file({n: x.astype(ml_dtypes.bfloat16) for n, x in tensors.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"num_heads": 2}')
    params = imported(tmp_path).variables["params"]
    assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype("float32")}
    np.testing.assert_array_equal(
        params["class_token"], tensors["cls_token"].astype(ml_dtypes.bfloat16).astype(np.float32)
    )


def test_a_model_without_a_place_in_the_other_library_is_not_written():
    model = LEARNED | {"registers": 2, "layer_scale": 1.0}
    with pytest.raises(UserError, match=r"no place for registers, transformer/blocks/layer_scale1"):
        exported(BY_NAME["hf_vit"], model, drawn(model))


def test_positions_are_resampled_on_grids_that_are_no_squares():
    table = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    values, report = fitted({"positions": table}, {"positions": (20, 5)}, Grids((2, 3), (4, 5)))
    np.testing.assert_allclose(
        values["positions"], resize_tokens(table, (2, 3), (4, 5), INTERPOLATION_OFFSET), rtol=1e-6
    )
    assert report.resized == ("positions [6, 5] to [20, 5]",)
    with pytest.raises(UserError, match=r"positions: there \[6, 5\], here \[20, 5\]"):  # which grid is it?
        fitted({"positions": table}, {"positions": (20, 5)})


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_patch_embedding_for_other_channels_gives_the_same_for_grey_pictures(channels):
    kernel = np.random.default_rng(0).normal(size=(4 * 3, 5)).astype(np.float32)
    grey = np.random.default_rng(1).normal(size=(4, 1))
    before, after = (np.repeat(grey, n, axis=1).reshape(-1) for n in (3, channels))
    np.testing.assert_allclose(after @ other_channels(kernel, 4, 4 * channels), before @ kernel, rtol=1e-5, atol=1e-5)


def test_a_report_says_what_became_of_everything():
    arrays = {"a/kernel": np.zeros((2, 2)), "registers": np.zeros((1, 1, 2)), "mask_token": np.zeros((1, 1, 2))}
    _, report = fitted(arrays, {"a/kernel": (2, 2), "b/bias": (2,)})
    assert (report.loaded, report.new) == (("a/kernel",), ("b/bias",))
    assert report.told() == ("1 arrays loaded; resized: none; new: b/bias; left over: registers, mask_token")
    with pytest.raises(UserError) as error:
        refuse_partial(report, "the file", "Remedy")
    assert str(error.value).splitlines() == [
        "the file and the encoder here differ:", "  not in the file: b/bias", "  no place here: registers", "Remedy",
    ]  # fmt: skip
