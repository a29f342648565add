"""BERT, GPT-2, Llama, T5 and BART are `models.text`: whole forward passes, losses and gradients."""

from functools import partial

import jax
import jax.numpy as jnp

from ssl_jax.models.text import EncoderDecoder, TextTransformer, WordHead

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
    return {"blocks": layers} | ({} if norm is None else {"norm": norm})


def table(weight):
    return {"embedding": weight}


def text(ids, real=None):
    """Tokens, segments and positions of whole rows, or of those that are `real`."""
    segments = jnp.ones_like(ids) if real is None else real.astype(int)
    return ids, segments, jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)


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

    epsilon, at = config["layer_norm_eps"], "bert.embeddings"
    words, places, types = (w[f"{at}.{n}_embeddings.weight"] for n in ("word", "position", "token_type"))
    model = TextTransformer(
        *words.shape, depth, heads, config["intermediate_size"], len(places), types=len(types), embedding_norm=True,
        order="post", norm_epsilon=epsilon, remat="none",
    )  # fmt: skip
    params = {
        "tokens": table(words),
        "places": table(places),
        "kinds": table(types),
        "transformer": stacked(block, depth),
    }
    params |= {"normed": norm(w, f"{at}.LayerNorm")}
    dense = lambda x, name: x @ w[f"{name}.weight"].T + w[f"{name}.bias"]  # noqa: E731
    x = model.apply(
        {"params": params}, *text(given["input_ids"], given["attention_mask"]), types=given["token_type_ids"]
    )
    at = "cls.predictions"
    head = {"dense": linear(w, f"{at}.transform.dense"), "norm": norm(w, f"{at}.transform.LayerNorm")}
    rows, bias = WordHead(len(words), epsilon).apply({"params": head | {"bias": w[f"{at}.bias"]}}, x)
    logits = rows @ words.T + bias
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

    ids, words, places = given["input_ids"], w["transformer.wte.weight"], w["transformer.wpe.weight"]
    model = TextTransformer(
        *words.shape, depth, heads, w["transformer.h.0.mlp.c_fc.bias"].size, len(places), causal=True, mlp="gelu_tanh",
        norm_epsilon=config["layer_norm_epsilon"], remat="none",
    )  # fmt: skip
    params = {"tokens": table(words), "places": table(places)}
    params |= {"transformer": stacked(block, depth, norm(w, "transformer.ln_f"))}
    logits = model.apply({"params": params}, *text(ids)) @ words.T
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

    ids, words = given["input_ids"], w["model.embed_tokens.weight"]
    model = TextTransformer(
        *words.shape, depth, heads, config["intermediate_size"], causal=True, positions="rope", norm="rms", bias=False,
        mlp="swiglu", kv_heads=few, norm_epsilon=config["rms_norm_eps"], remat="none",
        rope_base=config["rope_parameters"]["rope_theta"],
    )  # fmt: skip
    params = {"tokens": table(words), "transformer": stacked(block, depth, norm(w, "model.norm"))}
    logits = model.apply({"params": params}, *text(ids)) @ w["lm_head.weight"].T
    return cross_entropy(logits[:, :-1], ids[:, 1:]), {"logits": logits}


def shifted(labels, start):
    return jnp.concatenate([jnp.full_like(labels[:, :1], start), labels[:, :-1]], axis=1)


def written(halves, words, given, start):
    """States of the decoder over the labels."""
    models, params = ({side: pair[i] for side, pair in halves.items()} for i in (0, 1))
    params["encoder"]["tokens"] = table(words)
    target = text(shifted(given["labels"], start))
    return EncoderDecoder(**models).apply({"params": params}, text(given["input_ids"]), target)


def t5(config, w, given):
    heads, words = config["num_heads"], w["shared.weight"]

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

    def half(side, depth):
        model = TextTransformer(
            *words.shape, depth, heads, config["d_ff"], positions="relative", causal=side == "decoder", norm="rms", bias=False,
            mlp="geglu_tanh", attention_scale=1.0, head_width=config["d_kv"], norm_epsilon=config["layer_norm_epsilon"],
            relative_buckets=config["relative_attention_num_buckets"],
            relative_furthest=config["relative_attention_max_distance"], remat="none",
        )  # fmt: skip
        relative = {"table": w[f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]}
        blocks = stacked(partial(block, side), depth, norm(w, f"{side}.final_layer_norm"))
        return model, {"relative": relative, "transformer": blocks}

    halves = {side: half(side, config[f"num_{n}layers"]) for side, n in (("encoder", ""), ("decoder", "decoder_"))}
    logits = written(halves, words, given, config["decoder_start_token_id"]) @ w["lm_head.weight"].T
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

    def half(side):
        depth, heads, width = (config[f"{side}_{n}"] for n in ("layers", "attention_heads", "ffn_dim"))
        places = w[f"model.{side}.embed_positions.weight"][2:]  # the first two are not used
        model = TextTransformer(
            *words.shape, depth, heads, width, len(places), causal=side == "decoder", embedding_norm=True, order="post",
            norm_epsilon=1e-5, remat="none",
        )  # fmt: skip
        embedded = {"places": table(places), "normed": norm(w, f"model.{side}.layernorm_embedding")}
        return model, embedded | {"transformer": stacked(partial(block, side, heads), depth)}

    words = w["model.shared.weight"]
    halves = {side: half(side) for side in ("encoder", "decoder")}
    logits = written(halves, words, given, config["decoder_start_token_id"]) @ words.T + w["final_logits_bias"]
    return cross_entropy(logits, given["labels"]), {"logits": logits}


CHECKS = {
    "BERT": partial(compare, bert),
    "GPT-2": partial(compare, gpt2),
    "GPT-Llama": partial(compare, llama),
    "T5 span corruption": partial(compare, t5),
    "BART": partial(compare, bart),
}
