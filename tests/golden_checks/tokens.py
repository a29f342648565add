"""Goldens of self-distillation on tokens: heads, targets, losses with gradients, and the published ViTs."""

import jax
import jax.numpy as jnp
import numpy as np
from published import published, under

from ssl_jax.data.masks.rectangles import slots_of
from ssl_jax.losses.assignment import masked_siamese, prototype_scores, sharpened_assignment
from ssl_jax.losses.distillation import masked_patch_cross_entropy, multicrop_cross_entropy
from ssl_jax.losses.gram import gram_anchoring
from ssl_jax.losses.koleo import koleo
from ssl_jax.losses.prototypes import centred_softmax, sinkhorn
from ssl_jax.models.grid import centres, rope
from ssl_jax.models.prototype_head import PrototypeHead
from ssl_jax.objectives.shared.ema import move_centre


def linear(arrays, name, separator="."):
    weight, bias = (f"{name}{separator}{part}" for part in ("weight", "bias"))
    return {"kernel": arrays[weight].T} | ({"bias": arrays[bias]} if bias in arrays else {})


def check_dino(entry, arrays, close):
    config = entry["config"]
    centre = jnp.zeros(arrays["teacher"].shape[-1])
    for i, temperature in enumerate(config["teacher_temps"]):
        teacher = jnp.moveaxis(jnp.asarray(arrays["teacher"][i]), 0, 1)  # crop-major -> [B, G, K]
        # The oracle keeps the teacher's temperature in float32: 0.04 is 0.03999999911 in it, and gradients show that.
        targets = centred_softmax(teacher, centre, float(np.float32(temperature)))

        def loss(student, targets=targets):
            terms = multicrop_cross_entropy(jnp.moveaxis(student, 0, 1), targets, config["student_temp"])
            return sum(t.value for t in terms)

        value, gradient = jax.jit(jax.value_and_grad(loss))(arrays["student"][i])
        close(value, arrays["losses"][i])
        close(gradient, arrays["grad_student"][i])
        rows = teacher.reshape(-1, teacher.shape[-1])
        centre = move_centre(centre, rows.sum(0), len(rows), config["center_momentum"])
        close(centre, arrays["center_after"][i])


def check_ibot_patches(entry, arrays, close):
    config = entry["config"]
    centre = jnp.zeros(arrays["teacher0"].shape[-1])
    for step in range(sum(name.startswith("mask") for name in arrays)):
        mask = arrays[f"mask{step}"].reshape(len(arrays[f"mask{step}"]), 1, -1)
        slots = jax.jit(slots_of, static_argnums=1)(mask, mask.shape[-1])  # more than masked patches: some stay empty
        valid, weight = (np.asarray(x).reshape(-1) for x in (slots.valid, slots.weight))
        filled = np.flatnonzero(valid)

        def in_slots(rows, filler, filled=filled, count=valid.size):
            return jnp.full((count, rows.shape[-1]), filler).at[filled].set(rows)

        teacher = np.asarray(in_slots(arrays[f"teacher{step}"], 7.0))
        targets = centred_softmax(teacher, centre, config["teacher_temp"])

        def loss(student, targets=targets, weight=weight, mask=mask, in_slots=in_slots):
            logits = in_slots(student, -3.0)
            return masked_patch_cross_entropy(logits, targets, weight, config["student_temp"], len(mask)).value

        value, gradient = jax.jit(jax.value_and_grad(loss))(arrays[f"student{step}"])
        close(value, arrays[f"loss{step}"])
        close(gradient, arrays[f"grad{step}"])
        centre = move_centre(centre, (teacher * valid[:, None]).sum(0), valid.sum(), config["center_momentum"])
        close(centre, arrays[f"center{step}"])


def check_head(entry, arrays, close):
    params = {
        name: linear(arrays, f"layers__{i}", "__") for i, name in ((0, "dense0"), (2, "dense1"), (4, "dense_out"))
    }
    params |= {"prototypes": arrays["last_layer__weight_v"].T, "magnitude": arrays["last_layer__weight_g"].T}
    hidden, (count, bottleneck) = arrays["layers__0__bias"].size, arrays["last_layer__weight_v"].shape
    head = PrototypeHead(count, hidden, bottleneck, magnitude=True, dtype="float64")
    close(jax.jit(head.apply)({"params": params}, arrays["x"]), arrays["y"])
    if (params.pop("magnitude") == 1).all():  # frozen lengths are no parameter at all
        close(jax.jit(head.clone(magnitude=False).apply)({"params": params}, arrays["x"]), arrays["y"])


def check_sinkhorn(entry, arrays, close):
    config, logits = entry["config"], arrays["logits"]
    assigned = jax.jit(lambda *rows: sinkhorn(rows[0], config["temp"], config["iters"], *rows[1:]))
    close(assigned(logits), arrays["Q"])
    padded = np.concatenate([logits, 3 + logits[:2]])
    valid = np.arange(len(padded)) < len(logits)
    close(assigned(padded, valid)[: len(logits)], arrays["Q"])


def check_koleo(entry, arrays, close):
    loss = lambda x: koleo(x, epsilon=entry["config"]["eps"]).value  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(loss))(arrays["x"])
    close(value, arrays["loss"])
    close(gradient, arrays["grad_x"])


def check_gram(entry, arrays, close):
    assert entry["config"] == {"img_level": True, "remove_neg": False}
    loss = lambda x: gram_anchoring(x, jnp.asarray(arrays["teacher"])).value  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(loss))(arrays["student"])
    close(value, arrays["loss"])
    close(gradient, arrays["grad_student"])


def check_msn(entry, arrays, close):
    config = entry["config"]

    def loss(anchors, prototypes):
        fixed = jax.lax.stop_gradient(prototypes)
        scores = prototype_scores(jnp.asarray(arrays["targets"]), fixed)
        targets = sharpened_assignment(scores, config["tau"], config["T"], config["sinkhorn_iterations"])
        rows = prototype_scores(anchors, prototypes).reshape(config["anchor_views"], len(targets), -1)
        agree, uneven = masked_siamese(jnp.moveaxis(rows, 0, 1), targets, config["tau"])
        return agree.value + config["regularization_weight"] * uneven.value

    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(arrays["anchors"], arrays["prototypes"])
    close(value, arrays["loss"])
    close(gradients[0], arrays["grad_anchors"])
    close(gradients[1], arrays["grad_prototypes"])


def check_rope(entry, arrays, close):
    config = entry["config"]
    cos, sin = rope(config["head_dim"], centres((config["H"], config["W"])), config["base"])
    close(cos, arrays["cos"])
    close(sin, arrays["sin"])


def check_vit(entry, arrays, close):
    config = {"image_size": entry["config"].get("image"), "layerscale_value": entry["config"]["layerscale"]}
    model, variables, _ = published(under(arrays, "param/"), entry["config"] | config)
    image = np.moveaxis(arrays["input"], 1, -1)
    close(jax.jit(model.apply)(variables, image), arrays["last_hidden"])
    if "masked_hidden" in arrays:
        mask = arrays["bool_masked_pos"][:, None]
        run = jax.jit(lambda v: model.apply(v, (image[:, None],), masks=(mask,), method="crops"))
        (masked,) = map(np.asarray, run(variables))
        close(masked[:, 0], arrays["masked_hidden"])


CHECKS = {
    "DINO": check_dino,
    "DINO projection head forward": check_head,
    "iBOT/DINOv2 patch loss (centering)": check_ibot_patches,
    "DINOv2/v3 Sinkhorn centering": check_sinkhorn,
    "KoLeo": check_koleo,
    "DINOv3 Gram loss": check_gram,
    "DINOv3 RoPE table": check_rope,
    "MSN": check_msn,
    "DINOv2 ViT forward": check_vit,
    "DINOv2+registers forward": check_vit,
    "DINOv3 ViT forward (RoPE)": check_vit,
}
