"""Objectives of text whose numbers are formulas, without a model."""

import jax.numpy as jnp

from ssl_jax.losses.diffusion import loss_weight, move_chance, step_back, stratified_times, substituted


def mdlm(entry, arrays, close):
    config, x = entry["config"], {k: jnp.asarray(v) for k, v in arrays.items()}
    mask, epsilon, times = config["mask_id"], config["eps"], x["out/t"].astype("float64")
    close(stratified_times(x["in/u0"], config["sampling_eps"]), x["out/t"])
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


CHECKS = {"MDLM": mdlm}
