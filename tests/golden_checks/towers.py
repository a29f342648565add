"""Goldens of pictures and sounds with words: whole models with their losses, the losses alone, and zero-shot."""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from published import under

from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.pairs import Together
from ssl_jax.data.text.views import TextViews
from ssl_jax.evaluate.prompts import class_vectors, cosines
from ssl_jax.interop.files import Weights
from ssl_jax.interop.heads import heads
from ssl_jax.interop.importing import converted
from ssl_jax.interop.shapes import built
from ssl_jax.losses.contrastive import normalize, sigmoid_pairwise, two_way_info_nce
from ssl_jax.models.heads import ProjectionHead
from ssl_jax.models.htsat import HTSAT
from ssl_jax.models.text import TextTransformer
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.base import Progress
from ssl_jax.objectives.clip import CLIP
from ssl_jax.objectives.siglip import SigLIP

PICTURES = runpy.run_path(str(Path(__file__).parent / "pictures.py"))["CHECKS"]


def check_pair(method, entry, arrays, close, signs, **options):
    """Both towers and their heads from one file, and the loss of the file's batch, with the gradient of what is learned of it."""
    PICTURES[entry["method"]](entry, arrays, close)
    weights = Weights(under(arrays, "w/"), entry["config"], "golden")
    found = {name: converted(weights, kind) for name, kind in (("image", ViT), ("text", TextTransformer))}
    pixels = entry["config"]["vision"]["image_size"]
    words = {"size": entry["config"]["text"]["vocab_size"], **signs}
    parts = {
        "image": ImageViews(pixels, (0.0,), (1.0,), {"image": {}}),
        "text": TextViews(words, padding=method is SigLIP),
    }
    towers = FrozenDict({name: built(each.model) for name, each in found.items()})
    objective = method(towers, Together(parts), **options)
    tree = {name: each.variables["params"] for name, each in found.items()}
    for path, x in heads(weights).items():
        *parents, name = path.split("/")
        inner = tree
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[name] = x
    text = parts["text"].evaluation({"tokens": arrays["in/input_ids"]})
    views = {name: x[:, None] for name, x in text.items()}
    views |= {"image": jnp.asarray(np.moveaxis(arrays["in/pixel_values_nchw"], 1, -1))[:, None]}
    views |= {"same": jnp.arange(len(arrays["in/input_ids"]))[:, None, None] * jnp.ones((1, 2, 2), jnp.int32)}

    @jax.jit
    def everything(params):
        loss = lambda p: objective.loss(p, {}, views, jax.random.key(0), Progress(0, 1)).total()  # noqa: E731
        return objective._unit(params, {}, views), jax.value_and_grad(loss)(params)

    embeds, (value, gradient) = everything(tree)
    close(embeds["image"], arrays["out/image_embeds"])
    close(embeds["text"], arrays["out/text_embeds"])
    close(value, arrays["out/loss"])
    return gradient


def check_clip(entry, arrays, close):
    signs = {"pad": entry["config"]["text"]["pad_token_id"], "end": entry["config"]["text"]["eos_token_id"]}
    gradient = check_pair(CLIP, entry, arrays, close, signs, out=entry["config"]["projection_dim"])
    close(gradient["image_head"]["dense_out"]["kernel"], arrays["grad/visual_projection.weight"].T)
    close(gradient["logit"]["image_text"]["scale"], arrays["grad/logit_scale"])


def check_siglip(entry, arrays, close):
    out = entry["config"]["text"]["projection_size"]
    gradient = check_pair(SigLIP, entry, arrays, close, {"pad": 1}, out=out, bias=True, bare=("image",))
    close(gradient["logit"]["image_text"]["scale"], arrays["grad/logit_scale"][0])
    close(gradient["logit"]["image_text"]["bias"], arrays["grad/logit_bias"][0])


def check_clap(entry, arrays, close):
    """Both towers with their heads, that of texts behind its pooler, and the loss in both directions."""
    sounds = converted(Weights(under(arrays, "w/"), {"model_type": "clap", **entry["config"]}, "golden"), HTSAT)
    spectrogram = jnp.moveaxis(jnp.asarray(arrays["in/input_features"]), 1, -1)
    heard = jax.jit(lambda v, x: built(sounds.model).apply(v, x, method="features"))(sounds.variables, spectrogram)
    weights = Weights(under(arrays, "w/"), {"model_type": "roberta", **entry["config"]["text"]}, "golden")
    found, w = converted(weights, TextTransformer), under(arrays, "w/")
    model, text = built(found.model), TextViews({"size": 50, "pad": 1}).evaluation({"tokens": arrays["in/input_ids"]})
    first = model.apply(found.variables, *text.values(), method="features")
    pooled = jnp.tanh(first @ w["text_model.pooler.dense.weight"].T + w["text_model.pooler.dense.bias"])
    made, out = heads(weights), entry["config"]["text"]["projection_dim"]
    unit = {}
    for name, h in (("sound", heard), ("text", pooled)):
        head = {x: {p: made[f"{name}_head/{x}/{p}"] for p in ("kernel", "bias")} for x in ("dense0", "dense_out")}
        unit[name] = normalize(ProjectionHead((out,), out, "none").apply({"params": head}, h))
    close(unit["text"], arrays["out/text_embeds"])
    close(unit["sound"], arrays["out/audio_embeds"])
    loss = two_way_info_nce(unit["sound"], unit["text"], np.exp(-arrays["w/logit_scale_a"])).value
    np.testing.assert_allclose(loss, arrays["out/symmetric_loss"], rtol=1e-4)
    assert abs(arrays["out/hf_loss"] - arrays["out/symmetric_loss"]) > 0.05


def tangent(x, g):
    """A gradient by unit vectors [N, D], as it is by vectors that are normalised first; one by a number as it is."""
    return g - (g * x).sum(axis=-1, keepdims=True) * x if x.ndim else g


def check_losses(entry, arrays, close):
    image, text = (jnp.asarray(arrays[f"in/{name}"]) for name in ("img", "txt"))
    clip = lambda u, v, s: two_way_info_nce(u, v, jnp.exp(-s)).value  # noqa: E731
    siglip = lambda u, v, s, b: sigmoid_pairwise(u, v, jnp.exp(s), b).value  # noqa: E731
    start = {"clip": (jnp.log(1 / 0.07),), "siglip": (jnp.log(10.0), jnp.float64(-10))}
    for name, loss, last in (("clip", clip, ("scale",)), ("siglip", siglip, ("t", "b"))):
        every = (image, text, *start[name])
        value, gradient = jax.jit(jax.value_and_grad(loss, tuple(range(len(every)))))(*every)
        close(value, arrays[f"out/{name}"])
        for what, x, g in zip(("img", "txt", *last), every, gradient, strict=True):
            close(g, tangent(np.asarray(x), arrays[f"out/{name}_d{what}"]))
    vectors = class_vectors(arrays["in/class_prompts"])
    close(vectors, arrays["out/zeroshot_weights"])
    np.testing.assert_array_equal(cosines(arrays["in/img"], vectors).argmax(1), arrays["out/zeroshot_pred"])


CHECKS = {
    "CLIP": check_clip,
    "SigLIP": check_siglip,
    "CLAP": check_clap,
    "CLIP/SigLIP losses + zero-shot": check_losses,
}
