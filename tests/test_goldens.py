"""Every golden whose method is implemented, at the manifest's tolerances: values and, where the file holds them, gradients.

`SSL_JAX_GOLDENS` points at another folder of the same format (`manifest.json` and the files it names). Nothing is
hard-coded: shapes, temperatures and weights come from manifest and files. Entries of methods without a check here are
not collected.
"""

import hashlib
import json
import os
import runpy
from contextlib import nullcontext
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from published import published, under

from ssl_jax.data.image import ops
from ssl_jax.data.image.views import ImageViews
from ssl_jax.evaluate.spectrum import alpha_req, lidar, rankme
from ssl_jax.losses.contrastive import nt_xent
from ssl_jax.models.grid import patchify, sincos
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.base import Progress
from ssl_jax.objectives.ijepa import IJEPA
from ssl_jax.objectives.mae import MAE
from ssl_jax.objectives.shared.ema import cosine_momentum
from ssl_jax.optim import optimizers

FOLDER = Path(os.environ.get("SSL_JAX_GOLDENS") or Path(__file__).parent / "data" / "goldens")
PROGRESS = Progress(0, 1)


# --- torch names -> our trees


def nhwc(x):
    return jnp.asarray(np.moveaxis(x, 1, -1))


def linear(arrays, name):
    suffix = ("weight", "bias") if f"{name}.weight" in arrays else ("w", "b")
    return {"kernel": arrays[f"{name}.{suffix[0]}"].T, "bias": arrays[f"{name}.{suffix[1]}"]}


def norm(arrays, name):
    suffix = ("weight", "bias") if f"{name}.weight" in arrays else ("w", "b")
    return {"scale": arrays[f"{name}.{suffix[0]}"], "bias": arrays[f"{name}.{suffix[1]}"]}


def patch_embed(arrays, name):
    weight = arrays[f"{name}.weight"]  # (D, C, p, q) -> (p*q*C, D)
    return {"kernel": weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0]), "bias": arrays[f"{name}.bias"]}


def block(arrays, names, heads):
    """One transformer block; `names` gives the torch names of norm1, qkv (fused or three), proj, norm2, fc1, fc2."""
    fused = [linear(arrays, n) for n in names["qkv"]]
    kernel = np.concatenate([f["kernel"] for f in fused], axis=1)
    width = kernel.shape[0]
    return {
        "norm1": norm(arrays, names["norm1"]),
        "qkv": {
            "kernel": kernel.reshape(width, 3, heads, width // heads),
            "bias": np.concatenate([f["bias"] for f in fused]).reshape(3, heads, width // heads),
        },
        "proj": {
            "kernel": linear(arrays, names["proj"])["kernel"].reshape(heads, width // heads, width),
            "bias": linear(arrays, names["proj"])["bias"],
        },
        "norm2": norm(arrays, names["norm2"]),
        "fc1": linear(arrays, names["fc1"]),
        "fc2": linear(arrays, names["fc2"]),
    }


def stack(blocks):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *blocks)


def hugging_face(layer):
    attention = f"{layer}.attention"
    return {
        "norm1": f"{layer}.layernorm_before", "norm2": f"{layer}.layernorm_after", "proj": f"{attention}.o_proj",
        "qkv": [f"{attention}.{k}_proj" for k in "qkv"], "fc1": f"{layer}.mlp.fc1", "fc2": f"{layer}.mlp.fc2",
    }  # fmt: skip


def plain(layer):
    return {"norm1": f"{layer}.n1", "norm2": f"{layer}.n2", "qkv": [f"{layer}.qkv"], "proj": f"{layer}.o",
            "fc1": f"{layer}.fc1", "fc2": f"{layer}.fc2"}  # fmt: skip


def transformer(arrays, naming, prefix, depth, heads, final):
    blocks = [block(arrays, naming(f"{prefix}{i}"), heads) for i in range(depth)]
    return {"blocks": stack(blocks), "norm": norm(arrays, final)}


# --- one check per method


def check_nt_xent(entry, arrays, close):
    loss = lambda z0, z1: nt_xent(z0, z1, entry["config"]["temperature"]).value  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(loss, (0, 1)))(arrays["z0"], arrays["z1"])
    close(value, arrays["loss"])
    close(gradient[0], arrays["grad_z0"])
    close(gradient[1], arrays["grad_z1"])


def mae_of(config):
    size, patch, width = config["image_size"], config["patch_size"], config["hidden_size"]
    encoder = ViT(width, config["num_hidden_layers"], config["num_attention_heads"], config["intermediate_size"], patch)
    channels = config["num_channels"]
    return MAE(
        encoder, ImageViews(size, (0.0,) * channels, (1.0,) * channels, {"image": {}}), config["mask_ratio"],
        config["norm_pix_loss"], config["decoder_hidden_size"], config["decoder_num_hidden_layers"],
        config["decoder_num_attention_heads"], config["decoder_intermediate_size"] / config["decoder_hidden_size"],
    )  # fmt: skip


def mae_params(config, w):
    decoder_heads = config["decoder_num_attention_heads"]
    return {
        "encoder": published(w, config)[1]["params"],
        "decoder": {
            "embed": linear(w, "decoder.decoder_embed"),
            "mask_token": w["decoder.mask_token"],
            "transformer": transformer(
                w, hugging_face, "decoder.decoder_layers.", config["decoder_num_hidden_layers"], decoder_heads,
                "decoder.decoder_norm",
            ),
            "pred": linear(w, "decoder.decoder_pred"),
        },
    }  # fmt: skip


def check_mae(entry, arrays, close):
    config, w = entry["config"], under(arrays, "w/")
    objective, params = mae_of(config), mae_params(config, w)
    image = np.moveaxis(arrays["in/pixel_values_nchw"], 1, -1)
    views = {"image": image[:, None], "noise": arrays["in/noise"]}
    grid = (config["image_size"] // config["patch_size"],) * 2
    for table, width in (
        ("out/pos_embed", config["hidden_size"]),
        ("out/decoder_pos_embed", config["decoder_hidden_size"]),
    ):
        close(sincos(width, grid), arrays[table][0, 1:])
        close(np.zeros(width), arrays[table][0, 0])
    close(patchify(jnp.asarray(image), config["patch_size"]), arrays["out/patchify_target"])

    keep, restore, mask = jax.jit(objective._mask)(views)
    np.testing.assert_array_equal(restore, arrays["out/ids_restore"])
    np.testing.assert_array_equal(mask, arrays["out/mask"])

    @jax.jit
    def everything(p):
        tokens = objective.encoder.apply({"params": p["encoder"]}, image, keep)
        loss = lambda q: objective.loss(q, {}, views, None, PROGRESS).total()  # noqa: E731
        return tokens, objective.reconstruct(p, views)[0], jax.value_and_grad(loss)(p)

    tokens, prediction, (value, gradient) = everything(params)
    close(tokens, arrays["out/encoder_last"])
    close(prediction, arrays["out/logits"])
    close(value, arrays["out/loss"])
    close(gradient["encoder"]["class_token"], arrays["grad/vit.embeddings.cls_token"])
    close(gradient["decoder"]["mask_token"], arrays["grad/decoder.mask_token"])
    close(gradient["decoder"]["pred"]["bias"], arrays["grad/decoder.decoder_pred.bias"])
    name = "vit.embeddings.patch_embeddings.projection"
    expected = patch_embed({f"{name}.weight": arrays[f"grad/{name}.weight"], f"{name}.bias": np.zeros(0)}, name)
    close(gradient["encoder"]["patch_embed"]["kernel"], expected["kernel"])


def check_ijepa(entry, arrays, close):
    config = entry["config"]
    size, channels = config["image_size"], config["num_channels"]
    encoder = ViT(
        config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"], config["intermediate_size"],
        config["patch_size"], class_token=False,
    )  # fmt: skip
    augment = ImageViews(size, (0.0,) * channels, (1.0,) * channels, {"image": {}})
    sizes = (config["predictor_dim"], config["predictor_depth"], config["predictor_heads"])
    objective = IJEPA(encoder, augment, *sizes)
    grid = (size // config["patch_size"],) * 2
    close(sincos(config["hidden_size"], grid), arrays["out/encoder_pos"][0])
    close(sincos(config["predictor_dim"], grid), arrays["out/predictor_pos"])

    w = under(arrays, "w/pred/")
    predictor = {
        "embed": linear(w, "embed"), "mask_token": w["mask_token"], "pred": linear(w, "proj"),
        "transformer": transformer(w, plain, "", config["predictor_depth"], config["predictor_heads"], "norm"),
    }  # fmt: skip
    student, teacher = (published(under(arrays, f"w/{which}/"), config)[1]["params"] for which in ("ctx", "tgt"))
    params, extra = {"encoder": student, "predictor": predictor}, {"teacher": {"encoder": teacher}}
    blocks = [arrays[f"in/tgt_idx{i}"] for i in range(sum(k.startswith("in/tgt_idx") for k in arrays))]
    targets, context = np.stack(blocks, axis=1), arrays["in/ctx_idx"]
    image = np.moveaxis(arrays["in/pixel_values_nchw"], 1, -1)
    views = {
        "image": image[:, None], "context": context, "context_valid": np.ones(context.shape, bool),
        "targets": targets, "targets_valid": np.ones(targets.shape, bool),
    }  # fmt: skip
    block_major = lambda x: np.moveaxis(x, 1, 0).reshape(-1, *x.shape[2:])  # noqa: E731

    @jax.jit
    def everything(p, e):
        context_out = encoder.apply({"params": p["encoder"]}, image, context)
        last = encoder.apply({"params": e["teacher"]["encoder"]}, image)
        loss = lambda q: objective.loss(q, e, views, None, PROGRESS).total()  # noqa: E731
        return context_out, last, objective.target(e, views), objective.predict(p, views), jax.value_and_grad(loss)(p)

    context_out, last, target, prediction, (value, gradient) = everything(params, extra)
    close(context_out, arrays["out/ctx_out"])
    close(last, arrays["out/tgt_hf_last"])
    close(block_major(target), arrays["out/h"])
    close(block_major(prediction), arrays["out/z"])
    close(value, arrays["out/loss"])
    close(gradient["encoder"]["patch_embed"]["bias"], arrays["grad/embeddings.patch_embeddings.projection.bias"])


def check_vit(entry, arrays, close):
    with_inputs, prefix = "w/cls_token" in arrays, "w/" if "w/cls_token" in arrays else "param/"
    model, variables, _ = published(under(arrays, prefix), entry["config"])
    image = nhwc(arrays["in/pixel_values_nchw"] if with_inputs else arrays["input"])
    close(jax.jit(model.apply)(variables, image), arrays["out/features"] if with_inputs else arrays["tokens"])
    if "out/pooled" in arrays:
        close(jax.jit(lambda v: model.apply(v, image, method="features"))(variables), arrays["out/pooled"])


def check_lars(entry, arrays, close):
    config = entry["config"]
    constant = lambda value: lambda step: value  # noqa: E731
    varying = lambda step: jnp.asarray(arrays["lrs"])[step]  # noqa: E731
    for name, make, lr in (
        ("w_reference", optimizers.lars, constant(config["lr"])),
        ("w_simclr_tf", optimizers.lars_simclr, constant(config["lr"])),
        ("w_reference_varlr", optimizers.lars, varying),
        ("w_simclr_tf_varlr", optimizers.lars_simclr, varying),
        ("w_lightly", optimizers.larc, constant(config["lr"])),
    ):
        optimizer = make(lr, constant(config["wd"]), momentum=config["momentum"], eta=config["eta"])
        params = {"kernel": jnp.asarray(arrays["w0"])}
        state = optimizer.init(params)
        for gradient, expected in zip(arrays["grads"], arrays[name], strict=True):
            updates, state = optimizer.update({"kernel": jnp.asarray(gradient)}, state, params)
            params = optax.apply_updates(params, updates)
            close(params["kernel"], expected)


def check_momentum(entry, arrays, close):
    start, end, steps = (entry["config"][k] for k in ("start", "end", "steps"))
    ours = np.array([cosine_momentum(start, end, Progress(t, steps)) for t in range(steps)])
    close(ours, arrays["byol"])
    close(ours, arrays["dino"])


def check_rankme(entry, arrays, close):
    close(rankme(arrays["X"]), arrays["rankme"])
    close(lidar(arrays["E"], entry["config"]["delta"], entry["config"]["lidar_eps"]), arrays["lidar"])


def check_alpha_req(entry, arrays, close):
    first, last = entry["config"]["fit_range_1based"]
    close(alpha_req(arrays["X"], first, last), arrays["alpha"])


def check_augmentation(entry, arrays, close):
    config, x = entry["config"], jnp.asarray(np.moveaxis(arrays["x"], 0, -1)[None])
    number = lambda name: jnp.asarray([config[name]])  # noqa: E731
    crop = config["resized_crop"]
    results = jax.jit(lambda x: {
        "brightness": ops.brightness(x, number("brightness")),
        "contrast": ops.contrast(x, number("contrast")),
        "saturation": ops.saturation(x, number("saturation")),
        "hue": ops.hue(x, number("hue")),
        "gray": ops.grey(x),
        "solarize": ops.solarize(x, config["solarize_threshold"]),
        "blur": ops.gaussian_blur(x, number("blur_sigma"), config["blur_kernel"]),
        "rrc_bicubic_aa": ops.resized_crop(
            x, *(jnp.asarray([crop[k]]) for k in ("top", "left", "height", "width")), tuple(crop["size"]),
            crop["interpolation"],
        ),
    })  # fmt: skip
    for name, result in results(x).items():
        close(np.moveaxis(np.broadcast_to(result[0], np.moveaxis(arrays[name], 0, -1).shape), -1, 0), arrays[name])


CHECKS = {
    "SimCLR NT-Xent": check_nt_xent,
    "MAE": check_mae,
    "I-JEPA": check_ijepa,
    "ViT backbone": check_vit,
    "plain ViT (DINO/iBOT/MoCo-v3 backbone)": check_vit,
    "LARS": check_lars,
    "momentum schedules": check_momentum,
    "RankMe and LiDAR": check_rankme,
    "alpha-ReQ": check_alpha_req,
    "augmentation primitives": check_augmentation,
}

for path in sorted((Path(__file__).parent / "golden_checks").glob("*.py")):
    CHECKS |= runpy.run_path(str(path))["CHECKS"]

ENTRIES = [e for e in json.loads((FOLDER / "manifest.json").read_text()) if e["method"] in CHECKS]


@pytest.mark.parametrize("entry", ENTRIES, ids=[e["file"] for e in ENTRIES])
def test_golden(entry):
    raw = (FOLDER / entry["file"]).read_bytes()
    assert hashlib.sha256(raw).hexdigest() == entry["sha256"], "the file is not the one that the manifest describes"
    with np.load(FOLDER / entry["file"], allow_pickle=False) as file:
        arrays = {k: file[k] for k in file.files}

    def close(ours, expected):
        np.testing.assert_allclose(np.asarray(ours), expected, rtol=entry["rtol"], atol=entry["atol"])

    double = any(a.dtype == np.float64 for a in arrays.values())
    with jax.enable_x64(True) if double else nullcontext():
        CHECKS[entry["method"]](entry, arrays, close)


def test_every_implemented_method_has_a_golden():
    assert {e["method"] for e in ENTRIES} == set(CHECKS) or "SSL_JAX_GOLDENS" in os.environ
