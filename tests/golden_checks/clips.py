"""Goldens of encoders of clips: V-JEPA 2's rotary positions on whole and on dropped tokens, VideoMAE to its predictions."""

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.models.heads import MaskedDecoder
from ssl_jax.models.vit import ViT


def clip_of(arrays):
    return jnp.asarray(np.moveaxis(arrays["in/pixel_values_btchw"], 2, -1))


def under(arrays, prefix):
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def linear(w, name):
    kernel = w[f"{name}.weight"].T
    return {"kernel": kernel, "bias": w.get(f"{name}.bias", np.zeros(kernel.shape[1], kernel.dtype))}


def norm(w, name):
    return {"scale": w[f"{name}.weight"], "bias": w[f"{name}.bias"]}


def patch_embed(w, name):
    weight = w[f"{name}.weight"]  # (D, C, t, h, w) -> (t*h*w*C, D)
    return {"kernel": weight.transpose(2, 3, 4, 1, 0).reshape(-1, len(weight)), "bias": w[f"{name}.bias"]}


def transformer(w, layers, depth, heads, names, final, order):
    """A stack from torch's names; `order` is that of the numbers of a head of queries and keys."""
    norm1, query, key, value, proj, norm2, fc1, fc2 = names

    def block(layer):
        parts = [linear(w, f"{layer}.{name}") for name in (query, key, value)]
        width = len(parts[0]["kernel"])
        kernel, bias = (
            np.stack([p[k].reshape(-1, heads, width // heads) for p in parts], 1) for k in ("kernel", "bias")
        )
        for tensor in (kernel, bias):
            tensor[:, :2] = tensor[:, :2][..., order]
        output = linear(w, f"{layer}.{proj}")
        return {
            "norm1": norm(w, f"{layer}.{norm1}"), "norm2": norm(w, f"{layer}.{norm2}"),
            "fc1": linear(w, f"{layer}.{fc1}"), "fc2": linear(w, f"{layer}.{fc2}"),
            "qkv": {"kernel": kernel, "bias": bias[0]},
            "proj": {"kernel": output["kernel"].reshape(heads, width // heads, width), "bias": output["bias"]},
        }  # fmt: skip

    blocks = [block(f"{layers}.{i}") for i in range(depth)]
    return {"blocks": jax.tree.map(lambda *leaves: np.stack(leaves), *blocks), "norm": norm(w, final)}


def check_vjepa2(entry, arrays, close):
    config, w = entry["config"], under(arrays, "w/encoder.")
    width, heads, patch = config["hidden_size"], config["num_attention_heads"], config["patch_size"]
    model = ViT(
        width, config["num_hidden_layers"], heads, int(config["mlp_ratio"] * width), (config["tubelet_size"], patch, patch),
        "rope", class_token=False, rope_base=10000.0, rope_places="indices", rope_tiled=True,
    )  # fmt: skip
    names = ("norm1", *(f"attention.{n}" for n in ("query", "key", "value", "proj")), "norm2", "mlp.fc1", "mlp.fc2")
    pairs_apart = np.arange(width // heads).reshape(-1, 2).T.reshape(-1)  # pairs (2i, 2i+1) -> first and second half
    stack = transformer(w, "layer", config["num_hidden_layers"], heads, names, "layernorm", pairs_apart)
    params = {"patch_embed": patch_embed(w, "embeddings.patch_embeddings.proj"), "transformer": stack}
    run = jax.jit(
        lambda clip, keep: (model.apply({"params": params}, clip), model.apply({"params": params}, clip, keep))
    )
    whole, context = run(clip_of(arrays), jnp.asarray(arrays["in/ctx_idx"]))
    close(whole, arrays["out/encoder_full"])
    close(context, arrays["out/ctx_dropped_out"])


def check_videomae(entry, arrays, close):
    config, w = entry["config"], under(arrays, "w/")
    patch = (config["tubelet_size"], config["patch_size"], config["patch_size"])
    sizes = [
        [
            config[f"{part}{name}"]
            for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        ]
        for part in ("", "decoder_")
    ]
    model = ViT(*sizes[0], patch, "sequence", class_token=False)
    decoder = MaskedDecoder(len(w["decoder.head.weight"]), 0, *sizes[1], positions="sequence")
    names = ("layernorm_before", *(f"attention.attention.{n}" for n in ("query", "key", "value")),
             "attention.output.dense", "layernorm_after", "intermediate.dense", "output.dense")  # fmt: skip
    as_is = slice(None)
    encoder = {
        "patch_embed": patch_embed(w, "videomae.embeddings.patch_embeddings.projection"),
        "transformer": transformer(w, "videomae.encoder.layer", *sizes[0][1:3], names, "videomae.layernorm", as_is),
    }
    decode = {
        "embed": linear(w, "encoder_to_decoder"), "mask_token": w["mask_token"], "pred": linear(w, "decoder.head"),
        "transformer": transformer(w, "decoder.decoder_layers", *sizes[1][1:3], names, "decoder.norm", as_is),
    }  # fmt: skip
    hidden = jnp.asarray(arrays["in/bool_masked_pos"])
    shuffle = jnp.argsort(hidden, axis=1, stable=True)
    kept, grid = int((~hidden[0]).sum()), (config["num_frames"] // patch[0], *(2 * (config["image_size"] // patch[1],)))

    @jax.jit
    def predicted(clip):
        tokens = model.apply({"params": encoder}, clip, shuffle[:, :kept])
        return decoder.apply({"params": decode}, tokens, jnp.argsort(shuffle, axis=1, stable=True), grid)

    out = predicted(clip_of(arrays))
    close(out[hidden].reshape(len(out), -1, out.shape[-1]), arrays["out/logits"])


CHECKS = {"V-JEPA 2": check_vjepa2, "VideoMAE": check_videomae}
