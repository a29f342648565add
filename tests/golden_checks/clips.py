"""Goldens of encoders of clips: V-JEPA 2's rotary positions on whole and on dropped tokens, VideoMAE to its predictions."""

import jax
import jax.numpy as jnp
import numpy as np
from published import published, under

from ssl_jax.interop import hf_vit
from ssl_jax.interop.blocks import linear, norm
from ssl_jax.interop.importing import nested
from ssl_jax.interop.rules import below, read, rule, stacked
from ssl_jax.models.grid import grid_of
from ssl_jax.models.heads import MaskedDecoder


def clip_of(arrays):
    return jnp.asarray(np.moveaxis(arrays["in/pixel_values_btchw"], 2, -1))


def check_vjepa2(entry, arrays, close):
    model, variables, _ = published(under(arrays, "w/"), entry["config"])
    run = jax.jit(lambda clip, keep: (model.apply(variables, clip), model.apply(variables, clip, keep)))
    whole, context = run(clip_of(arrays), jnp.asarray(arrays["in/ctx_idx"]))
    close(whole, arrays["out/encoder_full"])
    close(context, arrays["out/ctx_dropped_out"])


def decoder_of(model):
    """The rules of VideoMAE's decoder, whose blocks have the encoder's names."""
    blocks = stacked(below(hf_vit.layer(model), "decoder.decoder_layers.{}."), model["depth"])
    return (
        *linear("encoder_to_decoder", "embed"),
        rule("mask_token", "mask_token"),
        *linear("decoder.head", "pred"),
        *below(blocks, ours="transformer/"),
        *norm("decoder.norm", "transformer/norm"),
    )


def check_videomae(entry, arrays, close):
    config, w = entry["config"], under(arrays, "w/")
    model, variables, _ = published(w, config)
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    width, depth, heads, hidden = (config[f"decoder_{name}"] for name in names)
    rules = decoder_of({"depth": depth, "heads": heads, "qkv_bias": "query_value"})
    params = nested(read(rules, w).arrays)["params"]
    params["embed"]["bias"] = np.zeros(width)  # our decoder has one here, and for the keys
    qkv = params["transformer"]["blocks"]["qkv"]
    qkv["bias"] = np.insert(qkv["bias"], 1, 0, axis=1)
    decoder = MaskedDecoder(len(w["decoder.head.weight"]), 0, width, depth, heads, hidden, positions="sequence")
    masked = jnp.asarray(arrays["in/bool_masked_pos"])
    shuffle = jnp.argsort(masked, axis=1, stable=True)
    kept, clip = int((~masked[0]).sum()), clip_of(arrays)

    @jax.jit
    def predicted(clip):
        tokens = model.apply(variables, clip, shuffle[:, :kept])
        return decoder.apply(
            {"params": params}, tokens, jnp.argsort(shuffle, axis=1, stable=True), grid_of(clip.shape, model.patch)
        )

    out = predicted(clip)
    close(out[masked].reshape(len(out), -1, out.shape[-1]), arrays["out/logits"])


CHECKS = {"V-JEPA 2": check_vjepa2, "VideoMAE": check_videomae}
