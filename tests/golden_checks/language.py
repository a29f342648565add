"""The blocks of BERT, GPT-2, Llama, T5 and BART are the shared stack: whole forward passes, losses and gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.models.mask import Mask
from ssl_jax.models.rows import LayerNorm
from ssl_jax.models.transformer import Memory, Style, Transformer

IGNORED = -100


def linear(w, name):
    return {"kernel": w[f"{name}.weight"].T} | ({"bias": w[f"{name}.bias"]} if f"{name}.bias" in w else {})


def norm(w, name):
    return {"scale": w[f"{name}.weight"]} | ({"bias": w[f"{name}.bias"]} if f"{name}.bias" in w else {})


def split(dense, *shape):
    """A dense layer with its output cut into heads."""
    return {k: x.reshape(*x.shape[: x.ndim - 1], *shape) for k, x in dense.items()}


def together(*layers):
    return {k: jnp.stack([layer[k] for layer in layers], axis=-2) for k in layers[0]}


def joined(dense, heads):
    """The projection that joins the heads again."""
    return dense | {"kernel": dense["kernel"].reshape(heads, -1, dense["kernel"].shape[-1])}


def grouped(w, names, heads, few):
    """Queries, and keys with values, of a torch model that has three layers for them."""
    query, *rest = (linear(w, n) for n in names)
    return split(query, heads, query["kernel"].shape[-1] // heads), {
        k: x.reshape(*x.shape[:-1], few, -1) for k, x in together(*rest).items()
    }


def qkv(w, names, heads):
    return {k: x.reshape(*x.shape[:-1], heads, -1) for k, x in together(*(linear(w, n) for n in names)).items()}


def stacked(block, depth, norm=None):
    layers = jax.tree.map(lambda *x: jnp.stack(x), *[block(i) for i in range(depth)])
    return {"params": {"blocks": layers} | ({} if norm is None else {"norm": norm})}


def cross_entropy(logits, labels):
    log = jax.nn.log_softmax(logits)
    picked = jnp.take_along_axis(log, jnp.maximum(labels, 0)[..., None], axis=-1)[..., 0]
    return -jnp.where(labels == IGNORED, 0, picked).sum() / (labels != IGNORED).sum()


def under(arrays, prefix="w/"):
    return {k.removeprefix(prefix): jnp.asarray(v) for k, v in arrays.items() if k.startswith(prefix)}


def compare(forward, entry, arrays, close):
    """`forward` of all weights gives (loss, {output: array}); gradients are those that the file has."""
    weights, expected = under(arrays), under(arrays, "grad/")
    loss = lambda some: forward(entry["config"], weights | some, under(arrays, "in/"))  # noqa: E731
    graded = jax.value_and_grad(loss, has_aux=True) if expected else lambda some: (loss(some), {})
    (value, outputs), gradient = jax.jit(graded)({name: weights[name] for name in expected})
    close(value, arrays["out/loss"])
    for name, output in outputs.items():
        close(output, arrays[f"out/{name}"])
    for name in expected:
        close(gradient[name], expected[name])


def bert(config, w, given):
    heads, depth = config["num_attention_heads"], config["num_hidden_layers"]

    def block(i):
        at = f"bert.encoder.layer.{i}"
        return {
            "qkv": qkv(w, [f"{at}.attention.self.{n}" for n in ("query", "key", "value")], heads),
            "proj": joined(linear(w, f"{at}.attention.output.dense"), heads),
            "norm1": norm(w, f"{at}.attention.output.LayerNorm"), "norm2": norm(w, f"{at}.output.LayerNorm"),
            "fc1": linear(w, f"{at}.intermediate.dense"), "fc2": linear(w, f"{at}.output.dense"),
        }  # fmt: skip

    epsilon = config["layer_norm_eps"]
    style = Style(order="post", final_norm=False)
    stack = Transformer(depth, heads, config["intermediate_size"], remat="none", norm_epsilon=epsilon, style=style)
    normed = lambda x, name: LayerNorm(epsilon).apply({"params": norm(w, name)}, x)  # noqa: E731
    dense = lambda x, name: x @ w[f"{name}.weight"].T + w[f"{name}.bias"]  # noqa: E731
    words, places, types = (w[f"bert.embeddings.{n}_embeddings.weight"] for n in ("word", "position", "token_type"))
    ids = given["input_ids"]
    x = normed(words[ids] + places[: ids.shape[1]] + types[given["token_type_ids"]], "bert.embeddings.LayerNorm")
    x = stack.apply(stacked(block, depth), x, Mask(given["attention_mask"] == 1))
    head = normed(
        jax.nn.gelu(dense(x, "cls.predictions.transform.dense"), approximate=False),
        "cls.predictions.transform.LayerNorm",
    )
    logits = head @ words.T + w["cls.predictions.bias"]
    pair = dense(jnp.tanh(dense(x[:, 0], "bert.pooler.dense")), "cls.seq_relationship")
    mlm, nsp = cross_entropy(logits, given["labels"]), cross_entropy(pair, given["next_sentence_label"])
    return mlm + nsp, {"mlm": mlm, "nsp": nsp, "mlm_logits": logits, "nsp_logits": pair}


def gpt2(config, w, given):
    heads, depth = config["n_head"], config["n_layer"]
    conv = lambda name: {"kernel": w[f"{name}.weight"], "bias": w[f"{name}.bias"]}  # noqa: E731 (stored in, out)

    def block(i):
        at = f"transformer.h.{i}"
        return {
            "qkv": split(conv(f"{at}.attn.c_attn"), 3, heads, config["n_embd"] // heads),
            "proj": joined(conv(f"{at}.attn.c_proj"), heads), "norm1": norm(w, f"{at}.ln_1"),
            "norm2": norm(w, f"{at}.ln_2"), "fc1": conv(f"{at}.mlp.c_fc"), "fc2": conv(f"{at}.mlp.c_proj"),
        }  # fmt: skip

    ids, words = given["input_ids"], w["transformer.wte.weight"]
    x = words[ids] + w["transformer.wpe.weight"][: ids.shape[1]]
    stack = Transformer(
        depth, heads, w["transformer.h.0.mlp.c_fc.bias"].size, remat="none", mlp="gelu_tanh",
        norm_epsilon=config["layer_norm_epsilon"],
    )  # fmt: skip
    logits = stack.apply(stacked(block, depth, norm(w, "transformer.ln_f")), x, Mask(causal=True)) @ words.T
    return cross_entropy(logits[:, :-1], ids[:, 1:]), {"logits": logits}


def llama(config, w, given):
    heads, few, depth = (config[f"num_{n}"] for n in ("attention_heads", "key_value_heads", "hidden_layers"))

    def block(i):
        at = f"model.layers.{i}"
        query, key_value = grouped(w, [f"{at}.self_attn.{n}_proj" for n in "qkv"], heads, few)
        return {
            "query": query, "key_value": key_value, "proj": joined(linear(w, f"{at}.self_attn.o_proj"), heads),
            "norm1": norm(w, f"{at}.input_layernorm"), "norm2": norm(w, f"{at}.post_attention_layernorm"),
            "fc1": together(linear(w, f"{at}.mlp.gate_proj"), linear(w, f"{at}.mlp.up_proj")),
            "fc2": linear(w, f"{at}.mlp.down_proj"),
        }  # fmt: skip

    ids, head = given["input_ids"], config["hidden_size"] // heads
    frequency = config["rope_parameters"]["rope_theta"] ** -(np.arange(0, head, 2) / head)
    angle = np.arange(ids.shape[1])[:, None] * np.tile(frequency, 2)
    style = Style(norm="rms", bias=False, kv_heads=few)
    stack = Transformer(
        depth, heads, config["intermediate_size"], remat="none", mlp="swiglu", norm_epsilon=config["rms_norm_eps"],
        style=style,
    )  # fmt: skip
    rope = ((jnp.cos(angle), jnp.sin(angle)),)
    params = stacked(block, depth, norm(w, "model.norm"))
    x = stack.apply(params, w["model.embed_tokens.weight"][ids], Mask(causal=True), rope=rope)
    logits = x @ w["lm_head.weight"].T
    return cross_entropy(logits[:, :-1], ids[:, 1:]), {"logits": logits}


def shifted(labels, start):
    return jnp.concatenate([jnp.full_like(labels[:, :1], start), labels[:, :-1]], axis=1)


def buckets(length, config, both):
    """T5's buckets of distances: exact when near, logarithmic when far."""
    count, far = (config[f"relative_attention_{n}"] for n in ("num_buckets", "max_distance"))
    distance = np.arange(length)[None] - np.arange(length)[:, None]
    first = (distance > 0) * (count // 2) if both else 0
    count, near = (count // 2, abs(distance)) if both else (count, np.maximum(-distance, 0))
    exact = count // 2
    log = exact + np.log(np.maximum(near, 1) / exact) / np.log(far / exact) * (count - exact)
    return first + np.where(near < exact, near, np.minimum(log.astype(int), count - 1))


def t5(config, w, given):
    heads = config["num_heads"]
    style = Style(norm="rms", bias=False, scale=1.0, head_width=config["d_kv"])

    def block(side, i):
        at = f"{side}.block.{i}.layer"
        last = 1 if side == "encoder" else 2
        attention = lambda n, kind: [f"{at}.{n}.{kind}.{p}" for p in "qkv"]  # noqa: E731
        gates = (linear(w, f"{at}.{last}.DenseReluDense.wi_{g}") for g in (0, 1))
        found = {
            "qkv": qkv(w, attention(0, "SelfAttention"), heads), "norm1": norm(w, f"{at}.0.layer_norm"),
            "proj": joined(linear(w, f"{at}.0.SelfAttention.o"), heads), "norm2": norm(w, f"{at}.{last}.layer_norm"),
            "fc1": together(*gates), "fc2": linear(w, f"{at}.{last}.DenseReluDense.wo"),
        }  # fmt: skip
        if side == "encoder":
            return found
        query, key_value = grouped(w, attention(1, "EncDecAttention"), heads, heads)
        return found | {
            "cross_query": query, "cross_key_value": key_value, "norm_cross": norm(w, f"{at}.1.layer_norm"),
            "cross_proj": joined(linear(w, f"{at}.1.EncDecAttention.o"), heads),
        }  # fmt: skip

    def run(side, ids, depth, mask, memory):
        stack = Transformer(
            depth, heads, config["d_ff"], remat="none", mlp="geglu_tanh", norm_epsilon=config["layer_norm_epsilon"],
            style=style,
        )  # fmt: skip
        table = w[f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
        bias = jnp.moveaxis(table[buckets(ids.shape[1], config, side == "encoder")], -1, 0)
        params = stacked(partial(block, side), depth, norm(w, f"{side}.final_layer_norm"))
        return stack.apply(params, w["shared.weight"][ids], mask, bias=bias, memory=memory)

    states = run("encoder", given["input_ids"], config["num_layers"], Mask(), None)
    ids = shifted(given["labels"], config["decoder_start_token_id"])
    out = run("decoder", ids, config["num_decoder_layers"], Mask(causal=True), Memory(states))
    logits = out @ w["lm_head.weight"].T
    return cross_entropy(logits, given["labels"]), {"logits": logits}


def bart(config, w, given):
    def block(side, heads, i):
        at = f"model.{side}.layers.{i}"
        found = {
            "qkv": qkv(w, [f"{at}.self_attn.{n}_proj" for n in "qkv"], heads),
            "proj": joined(linear(w, f"{at}.self_attn.out_proj"), heads),
            "norm1": norm(w, f"{at}.self_attn_layer_norm"), "norm2": norm(w, f"{at}.final_layer_norm"),
            "fc1": linear(w, f"{at}.fc1"), "fc2": linear(w, f"{at}.fc2"),
        }  # fmt: skip
        if side == "encoder":
            return found
        query, key_value = grouped(w, [f"{at}.encoder_attn.{n}_proj" for n in "qkv"], heads, heads)
        return found | {
            "cross_query": query, "cross_key_value": key_value, "norm_cross": norm(w, f"{at}.encoder_attn_layer_norm"),
            "cross_proj": joined(linear(w, f"{at}.encoder_attn.out_proj"), heads),
        }  # fmt: skip

    def run(side, ids, mask, memory):
        depth, heads, width = (config[f"{side}_{n}"] for n in ("layers", "attention_heads", "ffn_dim"))
        places = w[f"model.{side}.embed_positions.weight"][2 : 2 + ids.shape[1]]
        embedded = LayerNorm(1e-5).apply(
            {"params": norm(w, f"model.{side}.layernorm_embedding")}, w["model.shared.weight"][ids] + places
        )
        style = Style(order="post", final_norm=False)
        stack = Transformer(depth, heads, width, remat="none", norm_epsilon=1e-5, style=style)
        return stack.apply(stacked(partial(block, side, heads), depth), embedded, mask, memory=memory)

    states = run("encoder", given["input_ids"], Mask(), None)
    out = run("decoder", shifted(given["labels"], config["decoder_start_token_id"]), Mask(causal=True), Memory(states))
    logits = out @ w["lm_head.weight"].T + w["final_logits_bias"]
    return cross_entropy(logits, given["labels"]), {"logits": logits}


CHECKS = {
    "BERT": partial(compare, bert),
    "GPT-2": partial(compare, gpt2),
    "GPT-Llama": partial(compare, llama),
    "T5 span corruption": partial(compare, t5),
    "BART": partial(compare, bart),
}
