"""BERT, GPT-2, Llama, T5 and BART are `models.text`: forward passes of published weights, losses and gradients."""

from functools import partial

import jax
import jax.numpy as jnp
from published import published, under

from ssl_jax.interop.importing import flat, nested
from ssl_jax.interop.rules import write
from ssl_jax.models.text import WordHead

IGNORED = -100


def text(ids, real=None):
    """Tokens, segments and positions of whole rows, or of those that are `real`."""
    segments = jnp.ones_like(ids) if real is None else real.astype(int)
    return ids, segments, jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)


def cross_entropy(logits, labels):
    log = jax.nn.log_softmax(logits)
    picked = jnp.take_along_axis(log, jnp.maximum(labels, 0)[..., None], axis=-1)[..., 0]
    return -jnp.where(labels == IGNORED, 0, picked).sum() / (labels != IGNORED).sum()


def compare(forward, entry, arrays, close):
    """`forward` of an encoder's variables and of what is beside it in the file gives (loss, {output: array})."""
    tensors, config = under(arrays, "w/"), entry["config"]
    module, variables, found = published(tensors, config)
    halves = {
        side: getattr(module, side).clone(remat="none") for side in ("encoder", "decoder") if hasattr(module, side)
    }
    module = module.clone(**halves or {"remat": "none"})
    given, beside, expected = (
        {k: jnp.asarray(v) for k, v in part.items()} for part in (under(arrays, "in/"), tensors, under(arrays, "grad/"))
    )
    encoder, rules = flat(variables), found.family.rules(found.model)
    asked = [path for r in rules if any(found.family.prefix + n in expected for n in r.theirs) for path in r.ours]

    def loss(some):
        heads = beside | {name: x for name, x in some.items() if name in beside}
        return forward(config, module, nested(encoder | {path: some[path] for path in asked}), heads, given)

    some = {path: jnp.asarray(encoder[path]) for path in asked} | {name: beside[name] for name in expected}
    graded = jax.value_and_grad(loss, has_aux=True) if expected else lambda some: (loss(some), {})
    (value, outputs), gradient = jax.jit(graded)(some)
    close(value, arrays["out/loss"])
    for name, output in outputs.items():
        close(output, arrays[f"out/{name}"])
    by_name = gradient | under_prefix(found.family.prefix, write(rules, {path: gradient[path] for path in asked}))
    for name in expected:
        close(by_name[name], expected[name])


def under_prefix(prefix, arrays):
    return {prefix + name: x for name, x in arrays.items()}


def words_of(variables):
    params = variables["params"]
    return params.get("encoder", params)["tokens"]["embedding"]


def dense(heads, name, x):
    return x @ heads[f"{name}.weight"].T + heads[f"{name}.bias"]


def bert(config, module, variables, heads, given):
    x = module.apply(variables, *text(given["input_ids"], given["attention_mask"]), types=given["token_type_ids"])
    at, words = "cls.predictions.transform", words_of(variables)
    params = {
        "dense": {"kernel": heads[f"{at}.dense.weight"].T, "bias": heads[f"{at}.dense.bias"]},
        "norm": {"scale": heads[f"{at}.LayerNorm.weight"], "bias": heads[f"{at}.LayerNorm.bias"]},
        "bias": heads["cls.predictions.bias"],
    }
    rows, bias = WordHead(len(words), config["layer_norm_eps"]).apply({"params": params}, x)
    logits = rows @ words.T + bias
    pair = dense(heads, "cls.seq_relationship", jnp.tanh(dense(heads, "bert.pooler.dense", x[:, 0])))
    mlm, nsp = cross_entropy(logits, given["labels"]), cross_entropy(pair, given["next_sentence_label"])
    return mlm + nsp, {"mlm": mlm, "nsp": nsp, "mlm_logits": logits, "nsp_logits": pair}


def causal(tied, config, module, variables, heads, given):
    ids = given["input_ids"]
    last = words_of(variables) if tied else heads["lm_head.weight"]
    logits = module.apply(variables, *text(ids)) @ last.T
    return cross_entropy(logits[:, :-1], ids[:, 1:]), {"logits": logits}


def written(config, module, variables, given):
    """States of the decoder over the labels."""
    labels, start = given["labels"], config["decoder_start_token_id"]
    shifted = jnp.concatenate([jnp.full_like(labels[:, :1], start), labels[:, :-1]], axis=1)
    return module.apply(variables, text(given["input_ids"]), text(shifted))


def t5(config, module, variables, heads, given):
    logits = written(config, module, variables, given) @ heads["lm_head.weight"].T
    return cross_entropy(logits, given["labels"]), {"logits": logits}


def bart(config, module, variables, heads, given):
    logits = written(config, module, variables, given) @ words_of(variables).T + heads["final_logits_bias"]
    return cross_entropy(logits, given["labels"]), {"logits": logits}


CHECKS = {
    "BERT": partial(compare, bert),
    "GPT-2": partial(compare, partial(causal, True)),
    "GPT-Llama": partial(compare, partial(causal, False)),
    "T5 span corruption": partial(compare, t5),
    "BART": partial(compare, bart),
}
