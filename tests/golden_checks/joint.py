"""Golden checks of joint-embedding losses, queues and pretexts. Each is `check(entry, arrays, close)`."""

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.image.pieces import distant_orders
from ssl_jax.data.image.views import ImageViews
from ssl_jax.losses.contrastive import bilinear_info_nce, info_nce, normalize, queue_info_nce
from ssl_jax.losses.decorrelation import barlow_twins, cross_correlation, vicreg
from ssl_jax.losses.prototypes import sinkhorn
from ssl_jax.losses.regression import negative_cosine, normalized_error
from ssl_jax.models.conv import ConvNet
from ssl_jax.objectives.base import Progress
from ssl_jax.objectives.lejepa import LeJEPA
from ssl_jax.objectives.moco_v3 import MoCoV3
from ssl_jax.objectives.rotnet import rotations
from ssl_jax.objectives.shared.queue import empty_queue, enqueue
from ssl_jax.objectives.swav import SwAV

AUGMENT = ImageViews(8, (0.0,), (1.0,), {"image": {"count": 2}})


def total(terms):
    return sum(term.value for term in terms.values())


def graded(loss, arrays, names, close, value="loss"):
    """`loss` of the named arrays, and its gradient with respect to each that the file has a gradient for."""
    inputs = [jnp.asarray(arrays[n]) for n in names]
    found, gradients = jax.jit(jax.value_and_grad(loss, tuple(range(len(names)))))(*inputs)
    close(found, arrays[value])
    for name, gradient in zip(names, gradients, strict=True):
        close(gradient, arrays[f"grad_{name}"]) if f"grad_{name}" in arrays else close(
            gradient, np.zeros_like(gradient)
        )


def check_simsiam(entry, arrays, close):
    def symmetric(loss):
        return lambda p1, p2, z1, z2: loss(p1, z2).value + loss(p2, z1).value

    graded(lambda *x: symmetric(negative_cosine)(*x) / 2, arrays, ("p1", "p2", "z1", "z2"), close, "loss_simsiam")
    byol = symmetric(normalized_error)(*(jnp.asarray(arrays[n]) for n in ("p1", "p2", "z1", "z2")))
    close(byol, arrays["loss_byol"])


def check_moco(entry, arrays, close):
    temperature, queue = entry["config"]["temperature"], jnp.asarray(arrays["queue_before"])
    keys = jnp.asarray(arrays["k"])
    graded(lambda q: queue_info_nce(q, keys, queue, temperature).value, arrays, ("q",), close)
    after = enqueue(empty_queue(*queue.shape) | {"rows": queue}, normalize(keys))
    close(after["rows"], arrays["queue_after"])
    assert int(after["next"]) == int(arrays["ptr_after"])


def check_moco_v3(entry, arrays, close):
    objective = MoCoV3(ConvNet(), AUGMENT, temperature=entry["config"]["T"])
    k1, k2 = jnp.asarray(arrays["k1"]), jnp.asarray(arrays["k2"])

    def loss(q1, q2):
        embeddings = {"q": jnp.stack([q1, q2], axis=1), "k": jnp.stack([k1, k2], axis=1)}
        return objective.score({}, {}, embeddings, Progress(0, 1)).total()

    graded(loss, arrays, ("q1", "q2"), close)
    nce = jax.jit(lambda q: info_nce(q, k1, 1.0).value)
    close(nce(k1), nce(3 * k1))


def check_barlow_twins(entry, arrays, close):
    options = (entry["config"]["lambda_param"], entry["config"]["bn_eps"])
    graded(lambda a, b: total(barlow_twins(a, b, *options)), arrays, ("z_a", "z_b"), close)
    close(cross_correlation(jnp.asarray(arrays["z_a"]), jnp.asarray(arrays["z_b"]), options[1]), arrays["cross_corr"])


def check_vicreg(entry, arrays, close):
    weights = [entry["config"][k] for k in ("lambda_param", "mu_param", "nu_param")]
    terms = lambda a, b: vicreg(a, b, *weights, entry["config"]["eps"])  # noqa: E731
    graded(lambda a, b: total(terms(a, b)), arrays, ("z_a", "z_b"), close)
    found = jax.jit(terms)(arrays["z_a"], arrays["z_b"])
    for name, key, weight in zip(found, ("inv", "var", "cov"), weights, strict=True):
        close(found[name].value / weight, arrays[key])


def check_lejepa(entry, arrays, close):
    config = entry["config"]
    objective = LeJEPA(ConvNet(), AUGMENT, config["lam"], config["num_vectors"], config["knots"], config["t_max"])
    directions = jnp.asarray(arrays["A"])

    def terms(views_local, views_global):
        z_global, z_local = jnp.moveaxis(views_global, 0, 1), jnp.moveaxis(views_local, 0, 1)
        return objective.terms(z_global, jnp.concatenate([z_global, z_local], axis=1), directions)

    local, glob = jnp.asarray(arrays["local"]), jnp.asarray(arrays["glob"])
    value, gradient = jax.jit(jax.value_and_grad(lambda a, b: total(terms(a, b)), (0, 1)))(local, glob)
    close(value, arrays["loss"])
    close(gradient[0], arrays["grad_local"])
    close(gradient[1], arrays["grad_global"])
    found = jax.jit(terms)(local, glob)
    close(found["sigreg"].value / config["lam"], arrays["sigreg"])
    close(found["prediction"].value / (1 - config["lam"]), arrays["inv"])


def check_swav(entry, arrays, close):
    config = entry["config"]
    numbers = (config["temperature"], config["epsilon"], config["iters"])
    objective = SwAV(ConvNet(), AUGMENT, *numbers)
    assigned = arrays["hi"].shape[0]

    def loss(hi, lo, waiting, use):
        scores = jnp.moveaxis(jnp.concatenate([hi, lo]), 0, 1)
        return objective.swapped(scores, jnp.moveaxis(waiting, 0, 1), assigned, use).value

    queue = jnp.asarray(arrays["queue"])
    close(jax.jit(lambda scores: sinkhorn(scores, *numbers[1:]))(arrays["hi"][0]), arrays["Q0"])
    graded(lambda hi, lo: loss(hi, lo, queue, jnp.zeros((), bool)), arrays, ("hi", "lo"), close)
    with_queue = jax.jit(loss)(arrays["hi"], arrays["lo"], queue, np.True_)
    close(with_queue, arrays["loss_with_queue"])


def check_rotnet(entry, arrays, close):
    turned = rotations(jnp.moveaxis(jnp.asarray(arrays["x"]), 0, -1)[None])[0]
    close(jnp.moveaxis(turned, -1, 1), arrays["rotated"])
    np.testing.assert_array_equal(arrays["labels"], np.arange(4))


def check_jigsaw(entry, arrays, close):
    np.testing.assert_array_equal(distant_orders(entry["config"]["n"], entry["config"]["first"]), arrays["perms"])


def check_curl(entry, arrays, close):
    keys = jnp.asarray(arrays["z_pos"])
    graded(lambda q, w: bilinear_info_nce(q, keys, w).value, arrays, ("z_a", "W"), close)


CHECKS = {
    "SimSiam / BYOL": check_simsiam,
    "MoCo v1/v2 InfoNCE with queue": check_moco,
    "MoCo v3 symmetric InfoNCE": check_moco_v3,
    "Barlow Twins": check_barlow_twins,
    "VICReg": check_vicreg,
    "LeJEPA (SIGReg)": check_lejepa,
    "SwAV": check_swav,
    "RotNet rotation batch": check_rotnet,
    "Jigsaw permutation set (greedy max-min Hamming, 100)": check_jigsaw,
    "CURL bilinear InfoNCE": check_curl,
}
