"""Objectives of text whose numbers are formulas, without a model."""

import jax
import jax.numpy as jnp

from ssl_jax.losses.contrastive import info_nce, normalize, passage_info_nce
from ssl_jax.losses.diffusion import loss_weight, move_chance, step_back, stratified_times, substituted


def mdlm(entry, arrays, close):
    config, x = entry["config"], {k: jnp.asarray(v) for k, v in arrays.items()}
    mask, epsilon, times = config["mask_id"], config["eps"], x["out/t"].astype("float64")
    rows = len(x["in/u0"])
    close(stratified_times(x["in/u0"], jnp.arange(rows), rows, config["sampling_eps"]), x["out/t"])
    close(move_chance(times, epsilon), x["out/move_prob"])
    close(loss_weight(times, epsilon), x["out/weight"])
    hidden = jnp.where(x["in/token_u"] < x["out/move_prob"][:, None], mask, x["in/x0"])
    assert (hidden == x["out/xt"]).all()
    log = substituted(x["in/logits"], hidden, mask)
    nats = -jnp.take_along_axis(log, x["in/x0"][..., None], axis=-1)[..., 0]
    real = x["in/attention_mask"]
    close((loss_weight(times, epsilon)[:, None] * nats * real).sum() / real.sum(), x["out/loss"])
    everything = jnp.full_like(hidden, mask)  # the file has the step of a hidden token at every place
    now, then = (jnp.full(len(hidden), config[f"step_{t}"]) for t in "ts")
    close(step_back(substituted(x["in/logits"], everything, mask), everything, now, then, mask), x["out/step_probs"])


def simcse(entry, arrays, close):
    config, x = entry["config"], {k: jnp.asarray(v) for k, v in arrays.items()}
    z1, z2, z3 = (normalize(x[f"in/z{i}"]) for i in (1, 2, 3))
    temperature, others = config["temp"], jnp.stack([z2, z3], axis=1)
    close(info_nce(z1, z2, temperature).value, x["out/unsup"])
    supervised = lambda z: passage_info_nce(normalize(z), others, temperature).value  # noqa: E731
    value, gradient = jax.value_and_grad(supervised)(x["in/z1"])
    close(value, x["out/sup"])
    close(gradient, x["out/dsup_dz1"])
    close(passage_info_nce(z1, others, temperature, config["hard_weight"]).value, x["out/sup_hard_weight"])

    def full(q, p):
        return passage_info_nce(q, p.reshape(len(q), config["passages_per_query"], -1)).value

    hidden = lambda w: tuple(jnp.tanh(x[f"in/x{n}"] @ w[n]) for n in "qp")  # noqa: E731
    weights = {n: x[f"in/W{n}"] for n in "qp"}
    by_weight = jax.grad(lambda w: full(*hidden(w)))(weights)
    close(by_weight["q"], x["out/dWq"])
    close(by_weight["p"], x["out/dWp"])
    q, p = hidden(weights)
    value, caches = jax.value_and_grad(full, (0, 1))(q, p)
    close(value, x["out/biencoder_full"])
    close(caches[0], x["out/cache_q"])
    close(caches[1], x["out/cache_p"])


CHECKS = {"MDLM": mdlm, "SimCSE/GradCache": simcse}
