"""CPC and wav2vec 2.0: losses, published weights through the import engine, and gradients by their names."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from published import published, under

from ssl_jax.interop.blocks import linear
from ssl_jax.interop.importing import flat, nested
from ssl_jax.interop.rules import below, read, rule, write
from ssl_jax.interop.transforms import chain, shape, split_last, transpose
from ssl_jax.losses.predictive import among_batch, among_sequence
from ssl_jax.models.codebooks import largest
from ssl_jax.objectives.base import Progress
from ssl_jax.objectives.wav2vec2 import Wav2Vec2


def check_cpc(entry, arrays, close):
    given = {name: jnp.asarray(arrays[f"in/{name}"]) for name in ("context", "latents", "Wk")}
    valid = jnp.ones(given["latents"].shape[:2], bool)

    def loss(given, among):
        predicted = jnp.einsum("btc,kdc->kbtd", given["context"], given["Wk"])
        return among(predicted, given["latents"], valid).loss.value

    for name, among in {"batch": among_batch, "same_sequence": among_sequence}.items():
        value, gradient = jax.jit(jax.value_and_grad(partial(loss, among=among)))(given)
        expected = arrays[f"out/loss_{name}_negatives"]  # one of them is kept as float32
        close(np.asarray(value, expected.dtype), expected)
        for which, g in gradient.items():
            for key in (f"grad/{name}/{which}", f"grad/{which}_{name}"):
                if key in arrays:
                    close(g, arrays[key])


class Waves:
    """Views as they stand."""

    inputs = ("wave", "valid")


def beside(groups, size):
    """The names of what is beside the encoder."""
    heads = (*linear("project_hid", "project/dense_out"), *linear("project_q", "project_code/dense_out"))
    logits = (
        rule("quantizer.weight_proj.weight", "codebooks/logits/kernel", chain(transpose, split_last(groups))),
        rule("quantizer.weight_proj.bias", "codebooks/logits/bias", split_last(groups)),
        rule("quantizer.codevectors", "codebooks/entries", shape((groups, size, -1), (1, groups * size, -1))),
    )
    return heads + logits


def check_wav2vec2(entry, arrays, close):
    config, tensors = entry["config"], under(arrays, "w/")
    module, _, found = published(tensors, config)
    groups, size = config["num_codevector_groups"], config["num_codevectors_per_group"]
    objective = Wav2Vec2(
        module.clone(context=module.context.clone(remat="none")), Waves(), groups=groups, size=size,
        code_width=config["codevector_dim"], width=config["proj_codevector_dim"], negatives=config["num_negatives"],
        kappa=config["contrastive_logits_temperature"], diversity=config["diversity_loss_weight"], penalty=0.0,
    )  # fmt: skip
    rules = (*below(found.family.rules(found.model), found.family.prefix, "encoder/"), *beside(groups, size))
    params = nested(read(rules, tensors).arrays)["params"]
    wave = jnp.asarray(arrays["in/input_values"])
    hidden = jnp.asarray(arrays["in/mask_time_indices"])
    frames = hidden.shape[1]
    views = {
        "wave": wave[:, None], "valid": jnp.ones((len(wave), 1, wave.shape[1]), bool), "hidden": hidden,
        "others": jnp.asarray(arrays["in/sampled_negative_indices"]) - frames * jnp.arange(len(wave))[:, None, None],
    }  # fmt: skip

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def graded(params):
        told = objective._told(params, views, largest)
        out = objective.score(params, {}, objective._sums(told, hidden), Progress(0, 1))
        # Theirs are sums over hidden frames, and the diversity is told before its weight.
        count = hidden.sum()
        unused = out.losses["diversity"].value * count / objective.diversity
        return out.total() * count, (told, out.losses["contrastive"].total, unused, out.metrics["perplexity"].value)

    (value, (told, contrastive, unused, perplexity)), gradient = graded(params)
    close(told.projected, arrays["out/projected_states"])
    close(told.targets, arrays["out/projected_quantized_states"])
    close(perplexity, arrays["out/perplexity"])
    close(contrastive, arrays["out/contrastive"])
    close(unused, arrays["out/diversity"])
    close(value, arrays["out/loss"])
    by_name = write(rules, flat({"params": gradient}))
    for name, expected in under(arrays, "grad/").items():
        close(by_name[name], expected)


CHECKS = {"CPC": check_cpc, "wav2vec 2.0": check_wav2vec2}
