"""Goldens of published encoders of pictures, up to what they were trained for."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from published import published, under

from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.masks.rectangles import slots_of
from ssl_jax.losses.contrastive import normalize
from ssl_jax.losses.vocabulary import softmax_cross_entropy
from ssl_jax.models.grid import take_tokens, unpatchify
from ssl_jax.objectives.beit import BEiT
from ssl_jax.objectives.data2vec import Data2Vec
from ssl_jax.objectives.igpt import IGPT
from ssl_jax.objectives.simmim import SimMIM


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


def views_of(objective, image, mask):
    return {"image": image[:, None], "mask": jnp.asarray(mask)[:, None]}


def pixels_of(config):
    size, channels = config["image_size"], config["num_channels"]
    return ImageViews(size, (0.0,) * channels, (1.0,) * channels, {"image": {}})


def check_simmim(entry, arrays, close):
    """The objective's loss, and all its pixels; theirs lie in the head by channel, row, column."""
    w, patch = under(arrays, "w/"), entry["config"]["encoder_stride"]
    model, variables, _ = published(w, entry["config"])
    ours = lambda x: np.moveaxis(x.reshape(3, patch * patch, -1), 0, 1).reshape(3 * patch * patch, -1)  # noqa: E731
    head = {"kernel": ours(w["decoder.0.weight"]).T, "bias": ours(w["decoder.0.bias"])[:, 0]}
    objective = SimMIM(model, pixels_of(entry["config"]), mask_ratio=0.9, unit=1)  # slots for any mask of these
    params, image = {"encoder": variables["params"], "head": head}, image_of(arrays)
    views = views_of(objective, image, arrays["in/bool_masked_pos"])
    every = slots_of(jnp.ones_like(views["mask"]), views["mask"].shape[-1])
    told = jax.jit(lambda p: objective.told(p, views, every))(params)
    close(np.moveaxis(unpatchify(told, patch, objective.grid(views)), -1, 1), arrays["out/reconstruction"])
    loss = jax.jit(lambda p: objective.loss(p, {}, views, jax.random.key(0), None).total())
    close(loss(params), arrays["out/loss"])


def check_beit(entry, arrays, close):
    w, config = under(arrays, "w/"), entry["config"]
    model, variables, _ = published(w, config)
    head = {"kernel": w["lm_head.weight"].T, "bias": w["lm_head.bias"]}
    objective = BEiT(model, pixels_of(config), codes=config["vocab_size"])
    views = views_of(objective, image_of(arrays), arrays["in/bool_masked_pos"])
    every, hidden = (slots_of(m, m.shape[-1]) for m in (jnp.ones_like(views["mask"]), views["mask"]))
    told = jax.jit(lambda p: (objective.told(p, views, every), objective.told(p, views, hidden)))
    everywhere, logits = told({"encoder": variables["params"], "head": head})
    close(everywhere, arrays["out/logits"])
    codes = take_tokens(jnp.asarray(arrays["in/token_ids"])[..., None], hidden.index)
    flat = logits.reshape(-1, logits.shape[-1]), codes.reshape(-1), hidden.valid.reshape(-1).astype(jnp.float32)
    close(softmax_cross_entropy(*flat).value, arrays["out/loss"])


def check_data2vec(entry, arrays, close):
    config = entry["config"]
    both = {who: published(under(arrays, f"w/{who}/"), config) for who in ("student", "teacher")}
    model, params = both["student"][0], {"encoder": both["student"][1]["params"]}
    extra, key = {"teacher": {"encoder": both["teacher"][1]["params"]}}, jax.random.key(0)
    smooth = Data2Vec(model, pixels_of(config), top=config["K"], mask_ratio=0.9, beta=config["beta"])
    views = views_of(smooth, image_of(arrays), arrays["in/bool_masked_pos"])

    @jax.jit
    def everything(params, extra):
        losses = [o.loss(params, extra, views, key, None).total() for o in (smooth, replace(smooth, beta=0.0))]
        return losses, smooth.student(params, views, key), smooth.target(extra, views)

    losses, told, target = everything(params, extra)
    close(losses[0], arrays["out/loss_smoothl1"])
    close(losses[1], arrays["out/loss_l2"])
    close(told, arrays["out/student_last"][:, 1:])
    close(target, arrays["out/targets"])


def check_igpt(entry, arrays, close):
    """A palette of the numbers themselves, and pictures of the tokens: the whole objective."""
    w, codes = under(arrays, "w/"), arrays["in/pixel_tokens"]
    colours, side = len(w["lm_head.weight"]), int(codes.shape[1] ** 0.5)
    palette = np.arange(colours, dtype=np.float32)[:, None]
    model, variables, _ = published(w, entry["config"] | {"clusters": palette.tolist()})
    encoder = {k: x for k, x in variables["params"].items() if k != "palette"}
    objective = IGPT(model, ImageViews(side, (0.0,), (1.0,), {"image": {}}))
    params, extra = {"encoder": encoder, "words": {"table": w["lm_head.weight"]}}, {"palette": palette}
    views = {"image": jnp.asarray(codes, jnp.float32).reshape(-1, 1, side, side, 1)}
    np.testing.assert_array_equal(model.apply(variables, views["image"][:, 0], method="codes"), codes)
    states = jax.jit(lambda v: model.apply(v, views["image"][:, 0], method="read"))(variables)
    close(states @ w["lm_head.weight"].T, arrays["out/logits"])
    loss = jax.jit(lambda p: objective.loss(p, extra, views, jax.random.key(0), None).total())
    close(loss(params), arrays["out/loss_all"])


CHECKS = {
    "CLIP": check_clip,
    "SigLIP": check_siglip,
    "SimMIM": check_simmim,
    "BEiT": check_beit,
    "data2vec": check_data2vec,
    "iGPT": check_igpt,
}
