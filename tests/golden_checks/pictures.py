"""Goldens of published encoders of pictures, up to what they were trained for."""

import jax
import jax.numpy as jnp
import numpy as np
from published import published, under

from ssl_jax.losses.contrastive import normalize


def image_of(arrays):
    return jnp.asarray(np.moveaxis(arrays["in/pixel_values_nchw"], 1, -1))


def layer_norm(x, w, name, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def attention_pooled(tokens, w, heads, epsilon):
    """SigLIP's head: a learned query attends to the tokens, then an MLP with a residual."""
    rows, width = len(tokens), tokens.shape[-1]
    weight, bias = np.split(w["attention.in_proj_weight"], 3), np.split(w["attention.in_proj_bias"], 3)
    sides = (jnp.broadcast_to(w["probe"], (rows, 1, width)), tokens, tokens)
    query, key, value = (
        (x @ a.T + b).reshape(rows, -1, heads, width // heads) for x, a, b in zip(sides, weight, bias, strict=True)
    )
    out = jax.nn.dot_product_attention(query, key, value).reshape(rows, width)
    pooled = out @ w["attention.out_proj.weight"].T + w["attention.out_proj.bias"]
    h = layer_norm(pooled, w, "layernorm", epsilon)
    h = jax.nn.gelu(h @ w["mlp.fc1.weight"].T + w["mlp.fc1.bias"], approximate=True)
    return pooled + h @ w["mlp.fc2.weight"].T + w["mlp.fc2.bias"]


def check_siglip(entry, arrays, close):
    w, config = under(arrays, "w/"), entry["config"]
    model, variables, _ = published(w, config)
    head, (heads, epsilon) = (
        under(w, "vision_model.head."),
        (config["vision"][k] for k in ("num_attention_heads", "layer_norm_eps")),
    )
    embeds = jax.jit(lambda v, x: normalize(attention_pooled(model.apply(v, x), head, heads, epsilon)))
    close(embeds(variables, image_of(arrays)), arrays["out/image_embeds"])


def check_clip(entry, arrays, close):
    w = under(arrays, "w/")
    model, variables, _ = published(w, entry["config"])
    pooled = jax.jit(lambda v, x: model.apply(v, x, method="features"))(variables, image_of(arrays))
    close(normalize(pooled @ w["visual_projection.weight"].T), arrays["out/image_embeds"])


def check_simmim(entry, arrays, close):
    """The encoder sees mask tokens; its decoder is one layer, and pixels lie in it by channel, row, column."""
    w, patch = under(arrays, "w/"), entry["config"]["encoder_stride"]
    model, variables, _ = published(w, entry["config"])
    mask, image = arrays["in/bool_masked_pos"][:, None], image_of(arrays)
    run = jax.jit(lambda v: model.apply(v, (image[:, None],), masks=(mask,), method="crops"))
    tokens = run(variables)[0][:, 0, 1:]
    pixels = tokens @ w["decoder.0.weight"][:, :, 0, 0].T + w["decoder.0.bias"]
    rows = image.shape[1] // patch
    apart = pixels.reshape(len(image), rows, rows, 3, patch, patch)
    close(apart.transpose(0, 3, 1, 4, 2, 5).reshape(arrays["out/reconstruction"].shape), arrays["out/reconstruction"])


CHECKS = {"CLIP": check_clip, "SigLIP": check_siglip, "SimMIM": check_simmim}
