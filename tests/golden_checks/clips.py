"""Goldens of encoders of clips: V-JEPA 2's rotary positions on whole and on dropped tokens, VideoMAE to its predictions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from published import published, under

from ssl_jax.data.masks.multi_block import BlockMasks
from ssl_jax.data.video.views import ClipViews
from ssl_jax.interop import hf_vit
from ssl_jax.interop.blocks import linear, norm
from ssl_jax.interop.importing import nested
from ssl_jax.interop.rules import below, read, rule, stacked, write
from ssl_jax.interop.vjepa2 import predictor_of, predictor_rules
from ssl_jax.losses.regression import l1
from ssl_jax.objectives.base import Progress
from ssl_jax.objectives.mae import MAE
from ssl_jax.objectives.shared.latent import tokens_at
from ssl_jax.objectives.videomae import VideoMAE
from ssl_jax.objectives.vjepa import VJEPA


def clip_of(arrays):
    return jnp.asarray(np.moveaxis(arrays["in/pixel_values_btchw"], 2, -1))


def check_vjepa2(entry, arrays, close):
    """The training pass: a context without the other tokens, the predictor on it, and the loss with its gradient."""
    w = under(arrays, "w/")
    model, variables, _ = published(w, entry["config"])
    predictor, params = predictor_of(w, entry["config"])
    written = write(predictor_rules(predictor), flatten_dict(params, sep="/"))
    assert written.keys() == {name for name in w if name.startswith("predictor.")}
    for name, tensor in written.items():
        np.testing.assert_array_equal(tensor, w[name], name)

    class Published(VJEPA):
        predictor = predictor_of(w, entry["config"])[0]

    objective = Published(model, ClipViews(32, (0.0,), (1.0,), {"clip": {}}))
    clip, context, target = clip_of(arrays), arrays["in/ctx_idx"], arrays["in/tgt_idx"][:, None]
    masks = BlockMasks(context, np.ones(context.shape, bool), target, np.ones(target.shape, bool))
    views, extra = {"clip": clip[:, None]}, {"teacher": {"encoder": variables["params"]}}

    @jax.jit
    def run(params):
        whole, seen = (model.apply({"params": params["encoder"]}, clip, *keep) for keep in ((), (context,)))
        predict = partial(objective.predicted, views=views, masks=masks, setting=1)
        taught = tokens_at(objective.taught(extra, views), target)
        return whole, seen, predict(params), taught, *jax.value_and_grad(lambda p: l1(predict(p), taught).value)(params)

    everything = {"encoder": variables["params"], "predictor": params}
    whole, seen, prediction, taught, loss, gradient = run(everything)
    close(whole, arrays["out/encoder_full"])
    close(seen, arrays["out/ctx_dropped_out"])
    close(prediction[:, 0], arrays["out/predictor_on_dropped"])
    close(taught[:, 0], arrays["out/ln_targets"])
    close(loss, arrays["out/loss_l1"])
    sides = np.sign(prediction - taught) / taught.size  # of the L1 loss
    close(gradient["predictor"]["pred"]["bias"], sides.sum((0, 1, 2)))
    assert not np.any(gradient["predictor"]["mask_token"][0])
    assert np.any(gradient["predictor"]["mask_token"][1])


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

    class Given(VideoMAE):
        _mask = MAE._mask  # of any form, not tubes only

    augment, masked = (
        ClipViews(16, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), {"clip": {}}),
        arrays["in/bool_masked_pos"],
    )
    ratio = (masked[0].sum() - 0.5) / masked.shape[1]
    objective = Given(model, augment, ratio, config["norm_pix_loss"], width, depth, heads, hidden / width)
    assert objective.modules["decoder"].positions == "sequence"
    views = {"clip": clip_of(arrays)[:, None], "noise": jnp.asarray(masked, jnp.float32)}
    both = {"encoder": variables["params"], "decoder": params}
    run = jax.jit(
        lambda p: (*objective.reconstruct(p, views), objective.loss(p, {}, views, None, Progress(0, 1)).total())
    )
    out, mask, loss = run(both)
    np.testing.assert_array_equal(mask, masked)
    close(out[masked].reshape(len(out), -1, out.shape[-1]), arrays["out/logits"])
    close(loss, arrays["out/loss"])


CHECKS = {"V-JEPA 2": check_vjepa2, "VideoMAE": check_videomae}
